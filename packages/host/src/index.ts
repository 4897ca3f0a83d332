export { type BootDevice, type BootDeviceOptions, bootDevice } from './launch/boot-device.js';
export type { GuestMemory } from './launch/guest-memory.js';
export type * from './launch/launcher.js';
export {
  type SoftwareLauncher,
  softwareLauncher,
} from './launch/software-launcher.js';
export type { SoftwareVirtualMachine } from './launch/software-virtual-machine.js';
export * from './owner-client.js';
export { FirmwareCommandError } from './platform/firmware-error.js';
export { allocateHostMemory, type HostAllocation, trustedMemoryAddress } from './platform/host-memory.js';
export { type LinuxPlatformOptions, linuxPlatform } from './platform/linux.js';
export type { IoctlDevice, NativeBuffer, OpenIoctlDevice } from './platform/linux-device.js';
export { initialiseWhenNeeded, type Mailbox, type PlacedBuffer, withMailbox } from './platform/mailbox.js';
export {
  makePlatformOwner,
  type PlatformOwner,
  readPlatformOwner,
  signPek,
  writeOwnerKey,
} from './platform/ownership.js';
export type { Platform, PlatformInformation } from './platform/platform.js';
export type { SnpPlatform, SnpPlatformInformation, SnpReportSettings } from './platform/snp-platform.js';
export { softwarePlatform } from './platform/software.js';
export { type LaunchFiles, readLaunchFiles } from './qemu/launch-files.js';
export {
  type ConnectedMachine,
  connectConfidentialMachine,
  type QemuLauncher,
  type QemuLauncherOptions,
  qemuLauncher,
} from './qemu/qemu-launcher.js';
export { querySevCapabilities, type SevCapabilities } from './qemu/qemu-machine.js';
export type { QemuProcess, StartQemu } from './qemu/qemu-process.js';
export { type ConnectQmpOptions, connectQmp, type ExecuteOptions, type QmpClient } from './qmp/client.js';
export { QmpError } from './qmp/errors.js';
export type { QmpErrorClass, QmpEvent, QmpVersion } from './qmp/messages.js';
export {
  type ServedVirtualMachine,
  type ServeVirtualMachineOptions,
  serveVirtualMachine,
} from './qmp/serve-vm.js';
export { initialiseSnpWhenNeeded } from './snp/initialise.js';
export type { SoftwareSnpMachine } from './snp/software-machine.js';

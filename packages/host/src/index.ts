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
export { softwarePlatform } from './platform/software.js';

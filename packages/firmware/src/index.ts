export {
  GuestFault,
  type GuestProgram,
  type GuestRegisters,
  type GuestView,
  type PageValidation,
  type PermissionAdjustment,
} from './guest-view.js';
export {
  type Chip,
  chipEndorsementRequest,
  type Flash,
  manufactureChip,
} from './identity/chip.js';
export { type ChipFileOptions, loadChipFile, openChipFile } from './identity/state-file.js';
export { snpChipId, vcekEndorsementRequest } from './identity/vcek.js';
export {
  drawVlekHashstick,
  type NewVlekHashstick,
  vlekEndorsementRequest,
  vlekWrapKey,
  wrapVlekHashstick,
} from './identity/vlek.js';
export { createSoftwareMachine, type SoftwareMachine, type SoftwareMachineOptions } from './machine.js';
export * from './mailbox.js';
export { createDram, type PhysicalMemory } from './memory/dram.js';
export {
  type MachineProfile,
  machineProfiles,
  type SnpFeatures,
  type SnpProfile,
  type SnpSettings,
} from './profiles.js';
export { type AttachedGuest, connectGuest } from './remote/guest-client.js';
export { connectHost, type RemoteHostMachine } from './remote/host-client.js';
export { type MachineSockets, serveMachine } from './remote/server.js';

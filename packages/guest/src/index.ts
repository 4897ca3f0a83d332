export * from './agent/agent.js';
export * from './agent/configuration/attestation-agent.js';
export * from './agent/configuration/credentials.js';
export * from './agent/configuration/data-hub.js';
export * from './agent/configuration/kernel-command-line.js';
export * from './agent/image-policy/checks.js';
export * from './agent/image-policy/gate.js';
export { type ImageReference, parseImageReference } from './agent/image-policy/image-reference.js';
export { type ImagePolicy, imagePolicy } from './agent/image-policy/policy.js';
export * from './agent/image-policy/source.js';
export * from './agent/init-data-checks.js';
export * from './agent/resources/injected-keys.js';
export * from './agent/resources/offline-files.js';
export * from './agent/resources/offline-table.js';
export * from './agent/resources/resources.js';
export * from './agent/sealed-secrets.js';
export { appraiseInitData } from './agent/services/attestation.js';
export type { ImagePuller } from './agent/services/data-hub.js';
export { guestKeyProvider } from './agent/services/key-provider.js';
export { layoutPuller } from './agent/services/layout-puller.js';
export type { MountCommands } from './agent/services/secure-mount.js';
export { CallerRefusedError, type CallerRules } from './agent/transport/callers.js';
export { UnimplementedError } from './agent/unimplemented.js';
export * from './attestation/attestation-device.js';
export * from './attestation/configfs-tsm.js';
export type { GuestIoctlDevice, PlacedBytes } from './attestation/ioctl-device.js';
export * from './attestation/served/served-folder.js';
export * from './attestation/served/served-socket.js';
export * from './attestation/sev-guest-device.js';
export * from './attestation/socket-device.js';
export type { TsmFiles } from './attestation/tsm-files.js';
export {
  connectKeyBroker,
  type KeyBrokerClient,
  type KeyBrokerOptions,
} from './broker/broker-client.js';
export type { ReportSource } from './broker/evidence.js';
export { AttestationRefusedError, ReleaseRefusedError, ResourceAbsentError } from './broker/refusals.js';
export type { ServerTrust } from './broker/server-trust.js';
export * from './disk/create.js';
export { hasCryptsetup } from './disk/cryptsetup.js';
export {
  type CopyLuksHeaderOptions,
  copyLuksHeader,
  type LuksHeaderCopy,
} from './disk/header-copy.js';
export {
  formatDemoLuks,
  type LuksOptions,
  type OpenLuksOptions,
  openLuks,
  roundsForRandomKeys,
  testLuksKey,
  WrongDiskKeyError,
} from './disk/luks.js';
export * from './disk/luks-checks.js';
export * from './disk/luks-metadata.js';
export * from './disk/rekey.js';
export { isStandInVolume, openStandInVolume, sealStandInVolume } from './disk/stand-in.js';
export * from './disk/unlock.js';
export { type BootDevice, openBootDevice } from './firmware/boot-device.js';
export * from './firmware/image.js';
export * from './firmware/measured-boot.js';
export * from './firmware/program.js';
export type { SnpServices } from './firmware/snp-boot.js';
export * from './firmware/unlock-disk.js';
export * from './images/decrypt-image.js';
export * from './images/encrypt-image.js';
export * from './images/inspect-image.js';
export { type EncryptedImageCheck, encryptedImageChecks } from './images/layer-checks.js';
export * from './images/layer-cipher.js';
export * from './images/oci-layout.js';
export * from './sealing/seal.js';
export {
  type CompleteKeyRequest,
  describeKeyRequest,
  isSealedFile,
  parseSealedFile,
  type SealedFile,
  sealedFileHead,
} from './sealing/sealed-format.js';
export * from './sealing/sealed-volume.js';
export * from './secrets/folder-store.js';
export * from './secrets/materialise.js';
export * from './secrets/memory-store.js';
export * from './secrets/secret-store.js';
export type { StartVcpuOptions } from './snp/ap-creation.js';
export {
  channelAttestationDevice,
  requestCpuid,
  requestTscInformation,
  type TscInformation,
} from './snp/channel-device.js';
export { callHost, type HostAnswer, type HostCall, HostCallError } from './snp/ghcb-exit.js';
export * from './snp/guest-channel.js';
export { GuestMemoryError } from './snp/guest-pages.js';
export * from './snp/guest-requests.js';

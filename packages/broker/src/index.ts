export * from './administration/roles.js';
export type { AdminTokenDescription } from './administration/tokens.js';
export type { TrusteeIdentityProvider } from './administration/trustee-tokens.js';
export * from './broker.js';
export {
  type BrokerConfiguration,
  configurationText,
  parseBrokerConfiguration,
} from './configuration/configuration.js';
export {
  addressIn,
  type ConfiguredBroker,
  configurationFile,
  configuredBroker,
  configuredState,
} from './configuration/open.js';
export type { ListenAddress } from './http/listen.js';
export type { LogOptions } from './http/log.js';
export * from './policy/ready-made.js';
export * from './pre-launch/expected-launches.js';
export * from './pre-launch/http.js';
export * from './pre-launch/launch-secrets.js';
export { sessionChecks } from './pre-launch/measurement.js';
export * from './pre-launch/owner.js';
export { announcementChecks, type KeyService, type PlatformExpectations } from './pre-launch/platform.js';
export * from './pre-launch/refusal.js';
export * from './pre-launch/sessions.js';
export { checkpointFile, type OutsideCopy, witness } from './record/outside-copy.js';
export * from './reference-values/document.js';
export { signReferenceDocument } from './reference-values/signed-document.js';
export {
  createMasterKeyFile,
  type MasterKey,
  masterKeyFromEnvironment,
  masterKeyFromFile,
} from './secrets/master-key.js';
export { type VaultTransitOptions, vaultTransitMasterKey } from './secrets/vault-transit.js';

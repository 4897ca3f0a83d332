export { type RecoveredAdministration, recoverAdministration } from './administration/recover.js';
export * from './administration/roles.js';
export type { AdminTokenDescription } from './administration/tokens.js';
export type { TrusteeIdentityProvider } from './administration/trustee-tokens.js';
export type { Claims, PreLaunchClaims, SnpClaims } from './attestation/claims.js';
export * from './broker.js';
export { type ChangedMasterKey, changeConfiguredMasterKey } from './configuration/change-master-key.js';
export {
  type BrokerConfiguration,
  configurationText,
  type MasterKeyPlace,
  parseBrokerConfiguration,
} from './configuration/configuration.js';
export { configurationFile } from './configuration/file-name.js';
export {
  addressIn,
  type ConfiguredBroker,
  configuredBroker,
  configuredState,
} from './configuration/open.js';
export type { ListenAddress } from './http/listen.js';
export type { LogOptions } from './http/log.js';
export { releaseSchema } from './policy/cedar/schema.js';
export type { Decision } from './policy/decision.js';
export { defaultDemands, demandChecks, type ReleaseDemands } from './policy/demands.js';
export * from './policy/ready-made.js';
export type { Denial } from './policy/release-policy.js';
export { type DatabaseSessionStoreOptions, databaseSessionStore } from './pre-launch/database-sessions.js';
export * from './pre-launch/expected-launches.js';
export * from './pre-launch/http.js';
export { type LaunchKind, launchKindSchema } from './pre-launch/launch-kind.js';
export * from './pre-launch/launch-secrets.js';
export { sessionChecks } from './pre-launch/measurement.js';
export * from './pre-launch/owner.js';
export { announcementChecks, type KeyService, type PlatformExpectations } from './pre-launch/platform.js';
export * from './pre-launch/refusal.js';
export type { OwnerDecision } from './pre-launch/routes.js';
export * from './pre-launch/sessions.js';
export { recordChecks } from './record/checks.js';
export { checkpointFile, type OutsideCopy, witness } from './record/outside-copy.js';
export { referenceChecks } from './reference-values/checks.js';
export * from './reference-values/document.js';
export { generateIssuerKey, issuerOf } from './reference-values/issuer-key.js';
export type { ReferenceIssuer } from './reference-values/signed-document.js';
export { signReferenceDocument, verifyReferenceDocument } from './reference-values/signed-document.js';
export {
  createMasterKeyFile,
  type MasterKey,
  masterKeyFromEnvironment,
  masterKeyFromFile,
} from './secrets/master-key.js';
export { type VaultTransitOptions, vaultTransitMasterKey } from './secrets/vault-transit.js';
export { stateChecks } from './state/checks.js';

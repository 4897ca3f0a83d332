export * from './pre-launch/expected-launches.js';
export * from './pre-launch/http.js';
export * from './pre-launch/launch-secrets.js';
export { sessionChecks } from './pre-launch/measurement.js';
export * from './pre-launch/owner.js';
export { announcementChecks, type KeyService, type PlatformExpectations } from './pre-launch/platform.js';
export * from './pre-launch/refusal.js';
export * from './pre-launch/sessions.js';

export * from './expected-launches.js';
export * from './http.js';
export { sessionChecks } from './measurement.js';
export * from './owner.js';
export { announcementChecks, type KeyService, type PlatformExpectations } from './platform.js';
export * from './refusal.js';
export * from './secrets.js';
export * from './sessions.js';

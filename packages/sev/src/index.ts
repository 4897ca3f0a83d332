export * from './appraisal/appraisal.js';
export * from './appraisal/checks.js';
export * from './bytes.js';
export * from './codec/index.js';
export * from './crypto/index.js';
export * from './errors.js';
export * from './secret.js';

export * from './bits.js';
export type * from './field.js';
export * from './fields.js';
export * from './guid.js';
export * from './structure.js';

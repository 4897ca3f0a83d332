export * from './boot-device.js';

export * from './boot-device.js';
export * from './members.js';
export * from './message.js';
export * from './pre-launch/messages.js';
export * from './pre-launch/paths.js';

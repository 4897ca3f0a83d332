export type { Io, OutputStream } from './frame/io.js';
export { main } from './main.js';

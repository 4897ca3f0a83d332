/** `npm run check:imports [-- FOLDER]`: does every package import only what its role may know? */
import { resolve } from 'node:path';
import { runImportCheck } from './imports/run.js';

process.exitCode = runImportCheck(resolve(process.argv[2] ?? '.'), (line) => console.log(line));

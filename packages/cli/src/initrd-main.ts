import { processIo } from './frame/io.js';
import { runProgram } from './frame/program.js';
import { initrdProduct } from './initrd.js';

// The entry of the bundle that initrds hold: `npm run initrd-part`.
process.exitCode = await runProgram(initrdProduct, process.argv.slice(2), processIo());
// A device that never ends, such as a virtio port, would keep the process waiting for its next byte.
process.exit();

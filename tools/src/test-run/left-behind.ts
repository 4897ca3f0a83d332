import { lookBeforeRemovals } from '../left-behind/before-removal.js';
import { keepChildOutput } from '../left-behind/child-output.js';
import { keptFolder } from '../left-behind/keep.js';

const installed = Symbol.for('vouchsafe keeps what tests leave behind');

// Once for each process, and not once for each of the files that it runs.
if (keptFolder() !== undefined && !(installed in globalThis)) {
  Object.defineProperty(globalThis, installed, { value: true });
  lookBeforeRemovals();
  keepChildOutput();
}

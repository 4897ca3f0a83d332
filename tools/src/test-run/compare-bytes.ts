import { expect } from 'vitest';

const installed = Symbol.for('vouchsafe bytes are compared at once');

/** Vitest compares arrays of bytes one by one, which takes seconds for the pages of a machine. */
function areEqualBytes(a: unknown, b: unknown): boolean | undefined {
  if (!(a instanceof Uint8Array) || !(b instanceof Uint8Array) || a.constructor !== b.constructor)
    return undefined;
  return Buffer.compare(a, b) === 0;
}

// Once for each process, and not once for each of the files that it runs.
if (!(installed in globalThis)) {
  Object.defineProperty(globalThis, installed, { value: true });
  expect.addEqualityTesters([areEqualBytes]);
}

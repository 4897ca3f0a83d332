import { createRequire } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import type * as CedarModule from '@cedar-policy/cedar-wasm/nodejs';
import { InvalidArgumentError, UnavailableError } from '@vouchsafe/sev';

export type Cedar = typeof CedarModule;

const require = createRequire(import.meta.url);

let engine: Cedar | undefined;
let generation = 0;

/**
 * Calls Cedar, which is four megabytes of WebAssembly: loaded at the first call. An expression that is nested too deeply
 * traps, and an instance that has trapped answers nothing any more, so the next call gets a new one. Policies are held to
 * limits before they come here; this is for what the limits missed.
 * @throws UnavailableError when Cedar traps
 */
export function withCedar<T>(work: (cedar: Cedar, generation: number) => T): T {
  engine ??= load();
  try {
    return work(engine, generation);
  } catch (error) {
    if (!isTrap(error)) throw error;
    delete require.cache[require.resolve('@cedar-policy/cedar-wasm/nodejs')];
    engine = undefined;
    generation += 1;
    throw new UnavailableError('Cedar', 'the policy is too much for it', { cause: error });
  }
}

function load(): Cedar {
  // V8 11.3 (Node 20) ends the process when an optimised function has to be given up while it waits for WebAssembly that
  // returns a reference, as Cedar's does: a broker died so after some thousand decisions. Calls of WebAssembly are then
  // not inlined, in the whole process.
  setFlagsFromString('--no-turbo-inline-js-wasm-calls');
  return require('@cedar-policy/cedar-wasm/nodejs') as Cedar;
}

/** What a WebAssembly instance throws when it runs out of stack, its own or the thread's. */
function isTrap(error: unknown): boolean {
  return error instanceof Error && ['RuntimeError', 'RangeError'].includes(error.name);
}

/** The first of Cedar's errors, as one that names the policy. */
export function policyError(errors: readonly CedarModule.DetailedError[], text = ''): InvalidArgumentError {
  const [first] = errors;
  const where = first?.sourceLocations?.[0];
  const line = where === undefined ? undefined : text.slice(0, where.start).split('\n').length;
  const what = [first?.message ?? 'is none', where?.label].filter(Boolean).join(', ');
  return new InvalidArgumentError('policy', line === undefined ? what : `line ${line}: ${what}`, {
    ...(first?.help ? { hint: first.help } : {}),
  });
}

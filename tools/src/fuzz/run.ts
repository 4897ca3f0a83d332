import vm from 'node:vm';
import { VouchsafeError } from '@vouchsafe/sev';
import { mutate, SeededRandom } from './mutate.js';

/** Something that reads bytes which an attacker may have written. */
export interface Parser {
  /** The exported name: `parseSevCertificate`, `guestPolicyBits.parse`. */
  readonly name: string;
  /** Inputs that it accepts. */
  readonly seeds: readonly Uint8Array[];
  parse(bytes: Uint8Array): unknown;
}

export interface FuzzResult {
  readonly inputs: number;
  /** Mutated inputs that were accepted; none at all would mean that the parser is never really entered. */
  readonly accepted: number;
  readonly refused: number;
}

/** An input that a parser answered with something else than a value or a typed error. */
export class FuzzFailure extends Error {
  readonly index: number;
  readonly input: Uint8Array;

  constructor(parser: string, index: number, input: Uint8Array, what: string, cause?: unknown) {
    const shown = Buffer.from(input.subarray(0, 4096)).toString('hex');
    super(`${parser}: mutated input ${index} ${what}\ninput (${input.length} bytes, hex): ${shown}`, {
      cause,
    });
    this.name = 'FuzzFailure';
    this.index = index;
    this.input = input;
  }
}

/** No parser of ours has reason to think longer than this about a batch of inputs, on any machine. */
const defaultPatienceMs = 10_000;
const batchSize = 1000;

/**
 * Gives `count` mutated inputs to a parser. It must accept every seed, and answer everything else with a value or a
 * VouchsafeError.
 * @throws FuzzFailure with the input, for any other error, and for an input that is not answered in time
 */
export async function fuzz(
  parser: Parser,
  count: number,
  seed = 1,
  patienceMs = defaultPatienceMs,
): Promise<FuzzResult> {
  for (const valid of parser.seeds) await parser.parse(valid.slice());
  const random = new SeededRandom(seed);
  let accepted = 0;
  for (let done = 0; done < count; done += batchSize) {
    const inputs = Array.from({ length: Math.min(batchSize, count - done) }, () =>
      mutate(parser.seeds, random),
    );
    try {
      accepted += await withoutStackTraces(() => runBatch(parser, inputs, done, patienceMs));
    } catch (error) {
      // Once more, to show where it was raised.
      if (error instanceof FuzzFailure) await runBatch(parser, [error.input], error.index, patienceMs);
      throw error;
    }
  }
  return { inputs: count, accepted, refused: count - accepted };
}

async function runBatch(
  parser: Parser,
  inputs: readonly Uint8Array[],
  first: number,
  patienceMs: number,
): Promise<number> {
  let at = 0;
  let accepted = 0;
  const pending: Promise<void>[] = [];
  const judge = (index: number, error: unknown) => {
    if (error instanceof VouchsafeError) return;
    const what = `raised ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`;
    throw new FuzzFailure(parser.name, first + index, inputs[index]!, what, error);
  };
  const run = () => {
    for (; at < inputs.length; at++) {
      const index = at;
      try {
        const result = parser.parse(inputs[index]!.slice());
        if (!(result instanceof Promise)) accepted++;
        else
          pending.push(
            result.then(
              () => void accepted++,
              (error) => judge(index, error),
            ),
          );
      } catch (error) {
        judge(index, error);
      }
    }
  };
  try {
    interruptible(run, patienceMs);
  } catch (error) {
    if (error instanceof FuzzFailure || !isTimeout(error)) throw error;
    throw new FuzzFailure(parser.name, first + at, inputs[at]!, `had no answer within ${patienceMs} ms`);
  }
  await Promise.all(pending);
  return accepted;
}

/** Nobody reads where a refusal was raised, and recording it costs more than most parsers do. */
async function withoutStackTraces<T>(work: () => Promise<T>): Promise<T> {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    return await work();
  } finally {
    Error.stackTraceLimit = limit;
  }
}

const context = vm.createContext({});
const script = new vm.Script('work()');

/** A script of the vm module is the only synchronous code that Node can interrupt; whatever it calls is covered too. */
function interruptible(work: () => void, timeout: number): void {
  context['work'] = work;
  script.runInContext(context, { timeout });
}

/** The timeout's error belongs to the other context, whose Error is not ours. */
function isTimeout(error: unknown): boolean {
  return (error as { code?: unknown } | undefined)?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT';
}

import { spawn } from 'node:child_process';
import { chmodSync, createWriteStream, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { watchArguments } from './arguments.js';
import { type LeftBehind, type SearchResult, searchLeftBehind } from './search.js';

export interface RunOptions extends Pick<LeftBehind, 'marker'> {
  /** How often the arguments of all processes are looked at, in milliseconds. */
  readonly everyMs?: number;
}

const signals = ['SIGINT', 'SIGTERM'] as const;

/**
 * Runs a command with a temporary folder of its own, shows what it writes, and looks for the tests' secrets in all that
 * it leaves behind.
 * @param folder an empty folder, for the command's temporary files and what is kept of it
 */
export async function runAndSearch(
  folder: string,
  [program = '', ...words]: readonly string[],
  show: (part: Uint8Array) => void,
  { everyMs = 200, marker }: RunOptions = {},
): Promise<SearchResult & { readonly status: number }> {
  const [temporary, kept] = [join(folder, 'tmp'), join(folder, 'kept')];
  for (const each of [temporary, kept]) mkdirSync(each);
  // As /tmp is: tests start servers of other users, too.
  chmodSync(folder, 0o711);
  chmodSync(temporary, 0o1777);
  const output = createWriteStream(join(kept, 'output'));
  const watch = watchArguments(everyMs);
  const child = spawn(program, words, {
    env: { ...process.env, TMPDIR: temporary, VOUCHSAFE_LEFT_BEHIND: kept },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (part: Uint8Array) => {
      output.write(part);
      show(part);
    });
  const interrupt = (signal: NodeJS.Signals) => child.kill(signal);
  for (const signal of signals) process.on(signal, interrupt);
  const status = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 1));
  });
  for (const signal of signals) process.off(signal, interrupt);
  watch.stop();
  output.end();
  await finished(output);
  const result = searchLeftBehind({
    temporary,
    kept,
    arguments: watch.seen,
    ...(marker === undefined ? {} : { marker }),
  });
  return { status, ...result };
}

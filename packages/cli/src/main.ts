import { readFileSync } from 'node:fs';
import { commandTable } from './commands/table.js';
import { type Io, processIo } from './frame/io.js';
import { type Product, runProgram } from './frame/program.js';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const product: Product = {
  name: 'vouchsafe',
  version,
  description: 'Hands a secret to a confidential machine only after that machine has proved what it is.',
  closing: [
    'Start here: vouchsafe demo sev',
    'Every command takes --help and --json. Exit status: 0 done or accepted, 1 refused, 2 malformed input or arguments,',
    '3 something outside failed.',
  ].join('\n'),
  table: commandTable,
};

/** Runs `vouchsafe` with the given words (without the program's name) and gives its exit status. */
export function main(words: readonly string[], io: Io): Promise<number> {
  return runProgram(product, words, io);
}

/** Runs `vouchsafe` as this process. */
export async function runProcess(): Promise<void> {
  // A reader such as `head` that has seen enough closes the pipe; that is no failure of ours.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  process.exitCode = await main(process.argv.slice(2), processIo());
}

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Io } from '../../frame/io.js';
import { documentIn, failureOf, isFailure } from './documents.js';

/** The commands of this program in processes of their own, as a user could type them. */

const program = fileURLToPath(new URL('../../../bin/vouchsafe.js', import.meta.url));

export interface Outcome {
  readonly exit: number;
  /** What it printed: the answer, or `{ error }`. */
  readonly document: unknown;
}

/** Runs a command to its end. */
export async function carryOut(words: readonly string[]): Promise<Outcome> {
  const child = spawn(process.execPath, [program, ...words, '--json'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  const exit = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve(status ?? -1));
  });
  return { exit, document: documentIn(text) };
}

/** A command that stays. */
export interface Service<T> {
  /** What it printed when it was ready. */
  readonly document: T;
  readonly pid: number;
  /** Resolves with its exit status, or null after a signal, when its process is gone. */
  readonly gone: Promise<number | null>;
  /** Asks it to end, and waits until it has. */
  close(): Promise<void>;
}

export interface ServiceOptions {
  /** For people. */
  readonly name: string;
  readonly io: Pick<Io, 'stderr'>;
  /** How long it may take to end before it is made to, in milliseconds: ten seconds. */
  readonly patience?: number;
}

/**
 * Starts a command that stays, in a process group of its own: it ends when it is asked to or when this process is gone,
 * not by the terminal's Ctrl-C. What it says on standard error is passed on.
 * @throws UnavailableError when it ends before it is ready
 */
export async function startService<T>(
  words: readonly string[],
  { name, io, patience = 10_000 }: ServiceOptions,
): Promise<Service<T>> {
  const child = spawn(process.execPath, [program, ...words, '--json'], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    detached: true,
  });
  const gone = new Promise<number | null>((resolve) => child.once('close', resolve));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    for (const line of text.trimEnd().split('\n')) io.stderr.write(`${name}: ${line}\n`);
  });
  const document = await readyDocument(child, name);
  return {
    document: document as T,
    pid: child.pid ?? 0,
    gone,
    async close() {
      const force = setTimeout(() => child.kill('SIGKILL'), patience);
      child.kill();
      await gone;
      clearTimeout(force);
    },
  };
}

function readyDocument(child: ChildProcess, name: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout?.setEncoding('utf8').on('data', (part: string) => {
      text += part;
      const document = documentIn(text);
      if (document !== undefined && !isFailure(document)) resolve(document);
    });
    child.on('error', reject);
    child.on('close', () => reject(failureOf(name, documentIn(text))));
  });
}

import { spawn } from 'node:child_process';
import { openSecret, type Secret, UnavailableError } from '@vouchsafe/sev';

export interface CryptsetupRun {
  /** Exit status; -1 when a signal ended it. */
  readonly status: number;
  readonly stdout: string;
  /** What it complained of, bounded and harmless to a terminal. */
  readonly complaint: string;
}

const largestOutput = 4 * 1024 * 1024;
const largestComplaint = 4096;

/**
 * Runs cryptsetup with keys on its standard input, one behind the other: an argument could be read by every process, and
 * a file would outlive us.
 * @throws UnavailableError when the program cannot be run
 */
export function spawnCryptsetup(
  program: string,
  args: readonly string[],
  keys: readonly Secret[] = [],
): Promise<CryptsetupRun> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    const output = bounded(child.stdout, largestOutput);
    const complaints = bounded(child.stderr, largestComplaint);
    child.on('error', (cause: NodeJS.ErrnoException) => {
      const problem =
        cause.code === 'ENOENT' ? 'the program is not installed' : `cannot be run: ${cause.message}`;
      const hint = cause.code === 'ENOENT' ? 'install the package cryptsetup-bin' : undefined;
      reject(new UnavailableError(program, problem, { cause, hint }));
    });
    child.on('close', (status) => {
      const complaint = complaints()
        .replace(/\p{Cc}+/gu, ' ')
        .trim();
      resolve({ status: status ?? -1, stdout: output(), complaint });
    });
    // A program that ends before it has read its key closes the pipe; its status says why.
    child.stdin.on('error', () => undefined);
    for (const key of keys) child.stdin.write(openSecret(key));
    child.stdin.end();
  });
}

function bounded(stream: NodeJS.ReadableStream, most: number): () => string {
  const parts: Buffer[] = [];
  let length = 0;
  stream.on('data', (part: Buffer) => {
    length += part.length;
    if (length <= most) parts.push(part);
  });
  return () => Buffer.concat(parts).toString('utf8');
}

/** Whether cryptsetup can be run here. */
export async function hasCryptsetup(cryptsetup = 'cryptsetup'): Promise<boolean> {
  try {
    return (await spawnCryptsetup(cryptsetup, ['--version'])).status === 0;
  } catch (error) {
    if (error instanceof UnavailableError) return false;
    throw error;
  }
}

import { spawn } from 'node:child_process';
import { UnavailableError } from '@vouchsafe/sev';
import { deferred } from '../deferred.js';
import { connectQmp, type QmpClient } from '../qmp/client.js';
import { meaningOf } from '../qmp/refusals.js';

/** A QEMU that was started: all that the launcher needs of the process. */
export interface QemuProcess {
  /** Resolves when it has ended, with what it wrote to standard error. */
  readonly ended: Promise<{ readonly errorText: string }>;
  kill(): void;
}

/** Starts QEMU with these arguments; rejects when there is no such program. */
export type StartQemu = (commandLine: readonly string[]) => Promise<QemuProcess>;

const errorTextLimit = 0x1_0000;
const retryEvery = 25;

/** @throws UnavailableError when the program is not installed */
export function qemuProgram(program = 'qemu-system-x86_64'): StartQemu {
  return async (commandLine) => {
    const child = spawn(program, commandLine, { stdio: ['ignore', 'ignore', 'pipe'] });
    const started = deferred();
    const ended = deferred<{ errorText: string }>();
    let errorText = '';
    child.stderr.setEncoding('utf8');
    child.stderr.on('data', (text: string) => {
      errorText = (errorText + text).slice(-errorTextLimit);
    });
    child.once('spawn', () => started.resolve());
    child.once('error', (cause) => started.reject(notInstalled(program, cause)));
    child.once('close', () => ended.resolve({ errorText }));
    await started.promise;
    return { ended: ended.promise, kill: () => void child.kill('SIGKILL') };
  };
}

function notInstalled(program: string, cause: Error): UnavailableError {
  const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
  return new UnavailableError(
    program,
    missing ? 'it is not installed' : `it cannot be started (${cause.message})`,
    {
      hint: 'on Debian: apt-get install qemu-system-x86',
      cause,
    },
  );
}

/**
 * Connects to the socket that a QEMU makes when it is ready.
 * @throws what its last words mean, when it ends before that; UnavailableError when it takes longer than `timeout`
 */
export async function connectWhenReady(
  process: QemuProcess,
  socket: string,
  timeout: number,
): Promise<QmpClient> {
  const deadline = Date.now() + timeout;
  for (;;) {
    const outcome = await Promise.race([
      connectQmp(socket, { timeout }).catch((error: unknown) => error as Error),
      process.ended.then(({ errorText }) => endedEarly(errorText)),
    ]);
    if (!(outcome instanceof Error)) return outcome;
    if (!isNotThereYet(outcome) || Date.now() > deadline) throw outcome;
    await pause(retryEvery);
  }
}

/** The error for a QEMU that ended by itself. */
export function endedEarly(errorText: string): Error {
  const lastLines = errorText
    .trim()
    .split('\n')
    .filter((line) => !line.includes('warning:'))
    .slice(-3)
    .join('; ');
  return (
    meaningOf(errorText) ??
    new UnavailableError('QEMU', `it ended: ${lastLines === '' ? 'without a word' : lastLines}`)
  );
}

function isNotThereYet(error: Error): boolean {
  const code = (error.cause as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ENOENT' || code === 'ECONNREFUSED';
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

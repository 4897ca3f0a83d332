import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import type { Outcome } from './run.js';

export const repository = join(import.meta.dirname, '../../../..');
export const binary = join(repository, 'packages/cli/bin/vouchsafe.js');

export interface ProcessOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly nodeOptions?: readonly string[];
}

/** Runs the built command as a process of its own. */
export function runProcess(words: readonly string[], options: ProcessOptions = {}): Promise<Outcome> {
  return collect(process.execPath, [...(options.nodeOptions ?? []), binary, ...words], options);
}

/** Brings dist up to date, so that no stale build is tested. */
export async function build(): Promise<void> {
  const { exit, stdout } = await collect(
    process.execPath,
    ['node_modules/typescript7/bin/tsc', '-b', 'packages/cli'],
    {
      cwd: repository,
    },
  );
  if (exit !== 0) throw new Error(`packages/cli does not build:\n${stdout}`);
}

/** A port that nobody listened on a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function collect(
  program: string,
  words: readonly string[],
  { cwd, env = {} }: ProcessOptions,
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, {
      cwd,
      env: { PATH: process.env['PATH'] ?? '', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (status) => resolve({ exit: status ?? -1, stdout, stderr }));
  });
}

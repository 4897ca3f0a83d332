import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasVectors, vectors } from '../../../sev/src/testing/vectors.js';
import { binary, build } from './process.js';

/** Pages of documentation whose `console` blocks are run and compared with what they show. */

export interface ConsoleStep {
  /** The shell command, without its `$`. One that ends in `&` stays until the page is done. */
  readonly command: string;
  /** Line in the page, from 1. */
  readonly line: number;
  readonly output: string;
  readonly exit: number;
  /** The block needs the files of known answers: it begins with ```console vectors. */
  readonly needsVectors: boolean;
}

/** The steps of all `console` blocks of a page, in order. */
function readConsolePage(page: string): ConsoleStep[] {
  const steps: { command: string; line: number; output: string[]; exit: number; needsVectors: boolean }[] =
    [];
  let inside = false;
  let needsVectors = false;
  for (const [at, line] of page.split('\n').entries()) {
    if (line.startsWith('```')) {
      needsVectors = line === '```console vectors';
      inside = !inside && (line === '```console' || needsVectors);
    } else if (inside && line.startsWith('$ '))
      steps.push({ command: line.slice(2), line: at + 1, output: [], exit: 0, needsVectors });
    else if (inside) {
      const status = /^\[exit status (\d+)\]$/.exec(line)?.[1];
      const step = steps.at(-1);
      if (step === undefined) throw new Error(`line ${at + 1}: output before any command`);
      if (status === undefined) step.output.push(line);
      else step.exit = Number(status);
    }
  }
  return steps.map((step) => ({ ...step, output: step.output.join('\n') }));
}

/** What the page shows as a pattern: `…` stands for the rest of a word or line and, alone on its line, for any lines. */
export function outputPattern(output: string): RegExp {
  const lines = output.split('\n').map((line) =>
    line === '…'
      ? '(?:[^\\n]*\\n)*?'
      : `${line
          .split('…')
          .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll(/ {2,}/g, ' {2,}'))
          .join('[^\\n]*')}\\n`,
  );
  return new RegExp(output === '' ? '^$' : `^${lines.join('')}$`);
}

export interface ConsolePageOptions {
  readonly text: string;
  /** Files that lie in the folder when the page begins: name, and name of the known answer. */
  readonly vectors?: Readonly<Record<string, string>>;
  /** Puts things into the folder that would take the page long to make. */
  readonly prepare?: (folder: string) => Promise<unknown>;
}

/** A test for each step of a page: run from top to bottom in one folder, with the output that the page shows. */
export function describeConsolePage(
  title: string,
  { text, vectors: files = {}, prepare }: ConsolePageOptions,
): void {
  describe(title, () => {
    const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-page-'));
    const shell = new ConsoleShell(folder);
    beforeAll(async () => {
      await build();
      await prepare?.(shell.folder);
      if (hasVectors) for (const [name, vector] of Object.entries(files)) shell.write(name, vectors(vector));
    });
    afterAll(async () => {
      await shell.close();
      rmSync(folder, { recursive: true, force: true });
    });

    it.for(readConsolePage(text))('line $line: $command', async (step, { skip }) => {
      if (step.needsVectors && !hasVectors) skip('no vectors folder (set VOUCHSAFE_VECTORS)');
      const outcome = await shell.run(step.command);
      expect(outcome.output).toMatch(outputPattern(step.output));
      expect(outcome.exit).toBe(step.exit);
    });
  });
}

export interface StepOutcome {
  readonly exit: number;
  readonly output: string;
}

/** A shell in a folder where `vouchsafe` is the built command. */
export class ConsoleShell {
  /** Where its commands are run. */
  readonly folder: string;
  readonly #path: string;
  readonly #servers: ChildProcess[] = [];

  constructor(folder: string) {
    this.folder = join(folder, 'work');
    mkdirSync(this.folder);
    const programs = join(folder, 'bin');
    mkdirSync(programs);
    writeFileSync(join(programs, 'vouchsafe'), `#!/bin/sh\nexec "${process.execPath}" "${binary}" "$@"\n`);
    chmodSync(join(programs, 'vouchsafe'), 0o755);
    this.#path = `${programs}:${process.env['PATH'] ?? ''}`;
  }

  write(name: string, content: Uint8Array): void {
    writeFileSync(join(this.folder, name), content);
  }

  /** Runs one step to its end or, for a server, until it has said that it is ready. */
  run(command: string): Promise<StepOutcome> {
    const server = command.endsWith(' &');
    const child = spawn('sh', ['-c', server ? `exec ${command.slice(0, -2)}` : `(${command}) 2>&1`], {
      cwd: this.folder,
      env: { PATH: this.#path, HOME: this.folder },
      stdio: ['ignore', 'pipe', server ? 'ignore' : 'inherit'],
    });
    if (server) this.#servers.push(child);
    return new Promise((resolve, reject) => {
      let output = '';
      child.stdout?.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        if (server && output.endsWith('\n')) resolve({ exit: 0, output: firstLine(output) });
      });
      child.on('error', reject);
      child.on('close', (status) => resolve({ exit: status ?? -1, output }));
    });
  }

  /** Ends the servers that are still there. */
  async close(): Promise<void> {
    await Promise.all(
      this.#servers.map((child) => {
        if (child.exitCode !== null || child.signalCode !== null) return undefined;
        const gone = new Promise((resolve) => child.once('exit', resolve));
        child.kill();
        return gone;
      }),
    );
  }
}

/** A server may say more than its first line while it is being read. */
const firstLine = (output: string) => output.slice(0, output.indexOf('\n') + 1);

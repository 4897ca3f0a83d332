import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Outcome } from './run.js';

const cache = process.env['VOUCHSAFE_TEST_CACHE'] ?? join(homedir(), '.cache/vouchsafe-tests');
/** Where `tools/prepare-skopeo` puts it. */
const program = join(cache, 'skopeo/skopeo');

/** Why skopeo cannot be used; undefined where it can. */
export const skopeoIsMissing = existsSync(program)
  ? undefined
  : `skopeo 1.18 is not at ${program} (tools/prepare-skopeo puts it there)`;

/** Writes skopeo's configuration file with one key provider. */
export function writeSkopeoConfig(path: string, name: string, provider: object): void {
  writeFileSync(path, JSON.stringify({ 'key-providers': { [name]: provider } }));
}

/** Copies an image between two places, which encrypts or decrypts it where the words say so. */
export function skopeoCopy(config: string, words: readonly string[]): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, ['copy', '--insecure-policy', ...words], {
      env: { PATH: process.env['PATH'] ?? '', OCICRYPT_KEYPROVIDER_CONFIG: config },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        output[name] += text;
      });
    }
    child.on('error', reject);
    child.on('close', (status) => resolve({ exit: status ?? -1, ...output }));
  });
}

import { execFileSync } from 'node:child_process';
import { readFileSync, realpathSync } from 'node:fs';
import type { CpioEntry } from './cpio.js';

/**
 * A program of this machine with the libraries that it is linked to, at the paths where its loader looks for them.
 * @throws Error when there is no such program
 */
export function programWithLibraries(path: string, place: string): CpioEntry[] {
  const program = { path: place, bytes: read(path), executable: true };
  return [program, ...librariesOf(path).map((file) => ({ path: file, bytes: read(file), executable: true }))];
}

/** As the dynamic loader resolves them; none for a static program. */
function librariesOf(path: string): string[] {
  try {
    const listed = execFileSync('ldd', [path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return [...listed.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, file = '']) => file);
  } catch {
    return [];
  }
}

const read = (path: string) => new Uint8Array(readFileSync(realpathSync(path)));

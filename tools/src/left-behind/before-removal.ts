import fs, { type PathLike } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve, sep } from 'node:path';
import { keep } from './keep.js';
import { secretMarker } from './secrets.js';
import { type Marker, tracesIn } from './traces.js';

/**
 * What may hold no secret, by its name: databases, logs and exported records. What tests write as a secret's input or
 * output is named otherwise, and holds it rightly.
 */
const kinds: readonly (readonly [kind: string, name: RegExp])[] = [
  ['database', /\.(?:db|sqlite3?)(?:-wal|-shm|-journal)?$/],
  // PostgreSQL numbers what users make from 16384.
  ['database', /\/(?:pg_wal\/[0-9A-F]{24}|base\/\d{5,}\/\d{5,})$/],
  ['log', /\.log$|\/log$/],
  ['record', /\.ndjson$/],
];

/** Looks into the databases, logs and records at a path, which is about to be removed. */
function lookAt(path: string, marker: Marker): void {
  for (const file of filesAt(path)) {
    const kind = kinds.find(([, name]) => name.test(file))?.[0];
    if (kind === undefined) continue;
    let content: Uint8Array;
    try {
      content = fs.readFileSync(file);
    } catch {
      // Its server may still be at work, and removes files, too.
      continue;
    }
    keep('searched', `${kind}\n`);
    for (const trace of tracesIn(content, [marker])) keep('findings', `${kind} ${file}: ${trace}\n`);
  }
}

function filesAt(path: string): string[] {
  const state = fs.statSync(path, { throwIfNoEntry: false });
  if (state === undefined) return [];
  if (state.isFile()) return [path];
  if (!state.isDirectory()) return [];
  return fs
    .readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Looks at everything that is removed below the temporary folder, by whichever function of Node. */
export function lookBeforeRemovals(marker = secretMarker): void {
  const temporary = resolve(tmpdir()) + sep;
  const look = (path: PathLike) => {
    const whole = resolve(String(path));
    if (whole.startsWith(temporary)) lookAt(whole, marker);
  };
  const { rmSync } = fs;
  const { rm } = fs.promises;
  fs.rmSync = (path, options) => {
    look(path);
    rmSync(path, options);
  };
  fs.promises.rm = (path, options) => {
    look(path);
    return rm(path, options);
  };
  syncBuiltinESMExports();
}

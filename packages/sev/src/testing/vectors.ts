import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, test } from 'vitest';

/** The folder of known answers, which is not part of this repository: `VOUCHSAFE_VECTORS`, or beside the clone. */
const folder = resolve(
  process.env['VOUCHSAFE_VECTORS'] ?? join(import.meta.dirname, '../../../../../shared/vectors'),
);

export const hasVectors = existsSync(folder);

/** Bytes of a vector, for example `sev/naples/pdh.cert`. */
export function vectors(name: string): Uint8Array {
  return new Uint8Array(readFileSync(join(folder, name)));
}

/** Path of a vector, for programs that are given a file. */
export function vectorPath(name: string): string {
  return join(folder, name);
}

/** A JSON vector. Its shape is the caller's claim. */
export function jsonVector<T>(name: string): T {
  return JSON.parse(new TextDecoder().decode(vectors(name))) as T;
}

/** A `describe` for known answers. Without the folder it holds one test that is skipped and says why. */
export function describeWithVectors(title: string, tests: () => void): void {
  if (hasVectors) describe(title, tests);
  else
    describe(title, () =>
      test('its known answers', ({ skip }) => skip(`no vectors folder at ${folder} (set VOUCHSAFE_VECTORS)`)),
    );
}

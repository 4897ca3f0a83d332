import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const here = import.meta.dirname;
const protoc = '/usr/bin/protoc';

/** The script `generate` of this package makes them anew. */
it('what is generated is what protoc makes of the .proto files', ({ skip }) => {
  if (!existsSync(protoc)) return skip('protoc is not installed (package protobuf-compiler)');
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-protoc-'));
  try {
    const proto = join(here, '../../proto');
    const plugin = join(here, '../../../../node_modules/.bin/protoc-gen-es');
    const options = `target=ts,import_extension=js,erasable_syntax=true`;
    const files = readdirSync(proto);
    execFileSync(protoc, [
      '-I',
      proto,
      `--plugin=protoc-gen-es=${plugin}`,
      `--es_out=${folder}`,
      `--es_opt=${options}`,
      ...files,
    ]);
    const committed = join(here, 'generated');
    expect(readdirSync(committed).sort()).toEqual(readdirSync(folder).sort());
    for (const name of readdirSync(folder))
      expect(readFileSync(join(committed, name), 'utf8'), name).toBe(
        readFileSync(join(folder, name), 'utf8'),
      );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

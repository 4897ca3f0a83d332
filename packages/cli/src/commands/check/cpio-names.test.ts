import fc from 'fast-check';
import { expect, it } from 'vitest';
import { buildCpio, type CpioEntry } from '../../../../../tools/src/initrd/cpio.js';
import { readInitrdPaths } from './cpio-names.js';

const file = (path: string, bytes = new Uint8Array()): CpioEntry => ({ path, bytes });

it('an archive is the same whatever the order of its entries', () => {
  const entry = fc.record({
    path: fc.stringMatching(/^[a-z]{1,9}(?:\/[a-z]{1,9}){0,2}\.x$/),
    bytes: fc.uint8Array({ maxLength: 9 }),
  });
  fc.assert(
    fc.property(fc.uniqueArray(entry, { selector: ({ path }) => path, maxLength: 8 }), (entries) => {
      const archive = buildCpio(entries);
      expect(buildCpio(entries.toReversed())).toEqual(archive);
      const { paths, unread } = readInitrdPaths(archive);
      expect([paths.filter((path) => path.endsWith('.x')), unread]).toEqual([
        entries.map(({ path }) => path).sort(),
        false,
      ]);
    }),
    { numRuns: 50, seed: 6 },
  );
});

it('an archive has the folders that its paths need, before what is in them', () => {
  const { paths } = readInitrdPaths(buildCpio([file('lib/modules/a.ko'), file('/init'), file('bin/sh')]));
  expect(paths).toEqual(['bin', 'bin/sh', 'init', 'lib', 'lib/modules', 'lib/modules/a.ko']);
});

it('an archive says who may run a file, and where a link leads', () => {
  const text = (entry: CpioEntry) => Buffer.from(buildCpio([entry])).toString('latin1');
  expect(text(file('a'))).toContain('000081a4');
  expect(text({ path: 'a', bytes: new Uint8Array(), executable: true })).toContain('000081ed');
  const link = text({ path: 'a', target: 'bin/busybox' });
  expect(link).toContain('0000a1ff');
  expect(link).toContain('bin/busybox');
});

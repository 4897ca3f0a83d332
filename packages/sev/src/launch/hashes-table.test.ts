import { describe, expect, test } from 'vitest';
import { concat, toHex } from '../bytes.js';
import { digest } from '../crypto/index.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { changed } from '../testing/mutations.js';
import { buildHashesTable, hashesTable, parseHashesTable } from './hashes-table.js';

const text = (value: string) => new TextEncoder().encode(value);
const kernel = text('kernel');

describe('hashes table', () => {
  test('of nothing has the digest that the fact sheet gives', async () => {
    const table = await buildHashesTable({ kernel: new Uint8Array() });
    expect(table).toHaveLength(176);
    expect(toHex(await digest('sha256', table))).toBe(
      '6e725681a17ae9f186635cbc1be742508b61e0e550918894f1a5363ac86b5a1a',
    );
  });

  test('holds the hashes of kernel, initrd, and command line with its NUL', async () => {
    const table = await buildHashesTable({ kernel, initrd: text('initrd'), commandLine: 'quiet ü' });
    expect(parseHashesTable(table)).toEqual({
      kernel: await digest('sha256', kernel),
      initrd: await digest('sha256', text('initrd')),
      commandLine: await digest('sha256', concat(text('quiet ü'), Uint8Array.of(0))),
    });
  });

  test('an absent command line is an empty one; white space counts', async () => {
    const hash = async (commandLine?: string) =>
      toHex(parseHashesTable(await buildHashesTable({ kernel, commandLine })).commandLine);
    expect(await hash()).toBe(await hash(''));
    expect(await hash('quiet ')).not.toBe(await hash('quiet'));
  });

  test('refuses a NUL in the command line', async () => {
    await expect(buildHashesTable({ kernel, commandLine: 'a\0b' })).rejects.toThrow(InvalidArgumentError);
  });

  test('every byte but those of the hashes is fixed', async () => {
    const table = await buildHashesTable({ kernel });
    const hashes = (['commandLine', 'initrd', 'kernel'] as const).map((name) => hashesTable.offsetOf(name));
    for (let at = 0; at < table.length; at++) {
      const parsing = () => parseHashesTable(changed(table, { at, mask: 0x10 }));
      if (hashes.some((start) => at >= start && at < start + 32)) expect(parsing).not.toThrow();
      else expect(parsing).toThrow(MalformedError);
    }
  });

  test.each([0, 168, 175, 177])('%d bytes are malformed', (length) => {
    expect(() => parseHashesTable(new Uint8Array(length))).toThrow(MalformedError);
  });
});

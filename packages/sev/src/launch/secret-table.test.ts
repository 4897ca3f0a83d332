import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concat, toHex, u32le } from '../bytes.js';
import { guidToBytes, zeroGuid } from '../codec/guid.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { openSecret, Secret } from '../secret.js';
import { byteArray } from '../testing/mutations.js';
import {
  buildSecretTable,
  deletedEntry,
  parseSecretTable,
  readSecretTableLength,
  SecretTableAbsentError,
  type SecretTableEntry,
  secretTableGuid,
  secretTableHead,
  wellKnownSecretGuids,
} from './secret-table.js';

const other = '12345678-1234-1234-1234-123456789abc';
const luksKey = wellKnownSecretGuids.luksKey;
const plain = (entries: readonly SecretTableEntry[]) =>
  entries.map(({ guid, data }) => ({ guid, data: toHex(openSecret(data)) }));

const head = (length: number, guid = secretTableGuid) => concat(guidToBytes(guid), u32le(length));
const entry = (guid: string, data: Uint8Array, length = 20 + data.length) =>
  concat(guidToBytes(guid), u32le(length), data);

describe('secret table', () => {
  test('any secrets come back, in order, padded to whole blocks', () => {
    const secrets = fc.uniqueArray(fc.record({ guid: fc.uuid(), data: byteArray(0, 100) }), {
      maxLength: 10,
      selector: ({ guid }) => guid,
    });
    fc.assert(
      fc.property(secrets, (given) => {
        const kept = given.filter(({ guid }) => guid !== zeroGuid);
        const table = openSecret(buildSecretTable(kept));
        expect(table.length % 16).toBe(0);
        const expected = kept.map(({ guid, data }) => ({ guid, data: toHex(data) }));
        expect(plain(parseSecretTable(table))).toEqual(expected);
        const length = readSecretTableLength(table);
        expect(table.length - length).toBeLessThan(16);
        for (const { offset, size } of parseSecretTable(table))
          expect(offset + size).toBeLessThanOrEqual(length);
      }),
    );
  });

  test('takes secrets wrapped or bare', () => {
    const data = Uint8Array.of(1, 2, 3);
    const wrapped = buildSecretTable([{ guid: luksKey, data: Secret.copyOf(data) }]);
    expect(openSecret(wrapped)).toEqual(
      openSecret(buildSecretTable([{ guid: luksKey.toUpperCase(), data }])),
    );
  });

  test('refuses a GUID given twice, zero, or none', () => {
    const data = new Uint8Array(1);
    for (const guids of [[luksKey, luksKey.toUpperCase()], [zeroGuid], ['luks-key']]) {
      const building = () => buildSecretTable(guids.map((guid) => ({ guid, data })));
      expect(building).toThrow(InvalidArgumentError);
    }
  });

  test('padding of any length is accepted when it is zero, and nothing else after the table', () => {
    const table = openSecret(buildSecretTable([{ guid: luksKey, data: new Uint8Array(12).fill(1) }]));
    expect(parseSecretTable(concat(table, new Uint8Array(16)))).toHaveLength(1);
    expect(parseSecretTable(concat(table, new Uint8Array(3000)))).toHaveLength(1);
    expect(() => parseSecretTable(concat(table, Uint8Array.of(0, 0, 1)))).toThrow(MalformedError);
  });

  test('a deleted entry is gone, data and all; the others stay in place', () => {
    const secrets = [luksKey, other].map((guid, i) => ({ guid, data: new Uint8Array(21).fill(0xa0 + i) }));
    const memory = openSecret(buildSecretTable(secrets)).slice();
    const [first, second] = parseSecretTable(memory);
    memory.set(deletedEntry(first!), first!.offset);
    const left = parseSecretTable(memory);
    expect(left.map(({ guid, offset }) => [guid, offset])).toEqual([[other, second!.offset]]);
    expect(toHex(memory)).not.toContain('a0');
    memory.set(deletedEntry(second!), second!.offset);
    expect(parseSecretTable(memory)).toEqual([]);
  });

  test('entries say where they stand', () => {
    const memory = openSecret(buildSecretTable([{ guid: other, data: new Uint8Array(5) }]));
    expect(parseSecretTable(memory)).toMatchObject([{ guid: other, offset: 20, size: 25 }]);
  });
});

describe('hostile secret tables', () => {
  const data = new Uint8Array(4);

  test.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array()],
    ['less than a head', head(20).slice(0, 19)],
    ['zeros', new Uint8Array(64)],
    ['another table', head(20, other)],
  ])('%s is no secret table', (_what, bytes) => {
    expect(() => parseSecretTable(bytes)).toThrow(SecretTableAbsentError);
    expect(() => readSecretTableLength(bytes)).toThrow(SecretTableAbsentError);
  });

  test.each<[string, Uint8Array]>([
    ['a length below the head’s own', head(19)],
    ['a length of 0', head(0)],
    ['a length past the end', head(21)],
    ['a length past the end of an entry that is cut off', concat(head(44), entry(other, data)).slice(0, 42)],
    ['a length of 4 GiB', head(0xffffffff)],
    ['an entry shorter than 20', concat(head(44), entry(other, data, 19))],
    ['an entry of length 0', concat(head(44), entry(other, data, 0))],
    ['a deleted entry of length 0', concat(head(44), entry(zeroGuid, data, 0))],
    ['an entry past the end', concat(head(44), entry(other, data, 25))],
    ['a deleted entry past the end', concat(head(44), entry(zeroGuid, data, 25))],
    ['an entry of 4 GiB', concat(head(44), entry(other, data, 0xffffffff))],
    ['room for less than an entry', concat(head(39), new Uint8Array(19))],
    ['an entry given twice', concat(head(68), entry(other, data), entry(other, data))],
  ])('%s is malformed', (_what, bytes) => {
    expect(() => parseSecretTable(bytes)).toThrow(MalformedError);
  });

  test('a head by itself is of this table, or malformed', () => {
    expect(secretTableHead.parse(head(20)).totalLength).toBe(20);
    expect(() => secretTableHead.parse(head(20, other))).toThrow(MalformedError);
  });

  test('a refusal shows no secret', () => {
    const secret = new Uint8Array(32).fill(0x5a);
    const bytes = concat(head(20 + 52), entry(other, secret), Uint8Array.of(1));
    expect(() => parseSecretTable(bytes)).toThrow(
      expect.not.objectContaining({ found: expect.stringContaining('5a5a') }),
    );
  });
});

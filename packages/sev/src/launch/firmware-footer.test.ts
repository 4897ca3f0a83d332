import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concat, fromHex, toHex, u32le } from '../bytes.js';
import { guidToBytes } from '../codec/guid.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { byteArray } from '../testing/mutations.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import {
  buildFirmwareFooter,
  type FirmwareFooterEntry,
  firmwareFooterGuids,
  hashTableAreaEntry,
  parseFirmwareFooter,
  resetBlockEntry,
  secretAreaEntry,
  sevMetadataEntry,
} from './firmware-footer.js';
import { buildFirmwareMetadata } from './firmware-metadata.js';

interface FooterVector {
  readonly table_len: number;
  readonly sev_es_reset: string;
  readonly secret: { readonly base: string; readonly size: string };
  readonly hashes: { readonly base: string; readonly size: string };
}

const area = ({ base, size }: { base: string; size: string }) => ({ base: Number(base), size: Number(size) });

describeWithVectors('firmware footer, known answers', () => {
  const { files } = jsonVector<{ files: Record<string, FooterVector> }>('sev/ovmf/footer.json');

  test.each(Object.entries(files))('%s', (name, known) => {
    const footer = parseFirmwareFooter(vectors(`sev/ovmf/${name}`));
    expect(footer.resetAddress).toBe(Number(known.sev_es_reset));
    expect(footer.secretArea).toEqual(area(known.secret));
    expect(footer.hashTableArea).toEqual(area(known.hashes));
    expect(buildFirmwareFooter(footer.entries)).toHaveLength(known.table_len);
  });

  test.each(Object.keys(files))('rebuilds the table of %s byte by byte', (name) => {
    const image = vectors(`sev/ovmf/${name}`);
    const table = buildFirmwareFooter(parseFirmwareFooter(image).entries);
    expect(toHex(image.slice(-32 - table.length, -32))).toBe(toHex(table));
  });

  test('reads the SEV metadata of an AmdSev build', () => {
    const { sevMetadata } = parseFirmwareFooter(vectors('sev/ovmf/ovmf_AmdSev_suffix.bin'));
    const shown = sevMetadata?.sections.map(({ gpa, size, type }) =>
      [gpa, size, type].map((n) => n.toString(16)).join('/'),
    );
    expect(shown).toEqual([
      '800000/9000/1',
      '80a000/3000/1',
      '80d000/1000/2',
      '80e000/1000/3',
      '80f000/1000/4',
      '810000/1000/10',
      '811000/f000/1',
    ]);
  });

  test('rebuilds the SEV metadata of an AmdSev build byte by byte', () => {
    const image = vectors('sev/ovmf/ovmf_AmdSev_suffix.bin');
    const { entries, sevMetadata } = parseFirmwareFooter(image);
    const { offset, sections } = sevMetadata!;
    const rebuilt = buildFirmwareMetadata(sections);
    expect(toHex(image.slice(offset, offset + rebuilt.length))).toBe(toHex(rebuilt));
    expect(entries).toContainEqual(sevMetadataEntry(image.length - offset));
  });
});

const debianImage = '/usr/share/ovmf/OVMF.fd';

describe('Debian’s OVMF', () => {
  if (!existsSync(debianImage)) {
    test.skipIf(true)('install the package ovmf', () => undefined);
    return;
  }
  test('names a reset address, and reserves no areas', () => {
    const footer = parseFirmwareFooter(new Uint8Array(readFileSync(debianImage)));
    expect(footer.resetAddress).toBe(0x80b004);
    expect(footer.secretArea).toBeUndefined();
    expect(footer.hashTableArea).toBeUndefined();
    expect(footer.entries.map(({ guid }) => guid)).toContain(firmwareFooterGuids.secretArea);
    expect(footer.sevMetadata?.sections.map(({ type }) => type)).toEqual(expect.arrayContaining([1, 2, 3]));
  });
});

const resetVector = new Uint8Array(32);

/** An image of one page that ends with the given table. */
function imageWith(table: Uint8Array, below: Uint8Array = new Uint8Array()): Uint8Array {
  const filling = new Uint8Array(4096 - below.length - table.length - resetVector.length);
  return concat(filling, below, table, resetVector);
}

function entry(guid: string, data: Uint8Array, length = data.length + 18): Uint8Array {
  return concat(data, Uint8Array.of(length & 0xff, length >> 8), guidToBytes(guid));
}

const other = '12345678-1234-1234-1234-123456789abc';

describe('firmware footer', () => {
  test('reads what was built', () => {
    const image = imageWith(
      buildFirmwareFooter([
        resetBlockEntry(0x80b004),
        secretAreaEntry({ base: 0x810000, size: 0xc00 }),
        hashTableAreaEntry({ base: 0x810c00, size: 0x400 }),
      ]),
    );
    expect(parseFirmwareFooter(image)).toMatchObject({
      resetAddress: 0x80b004,
      secretArea: { base: 0x810000, size: 0xc00 },
      hashTableArea: { base: 0x810c00, size: 0x400 },
    });
  });

  test('any entries come back in their order', () => {
    const entries = fc.uniqueArray(fc.record({ guid: fc.uuid(), data: byteArray(0, 40) }), {
      maxLength: 20,
      selector: ({ guid }) => guid,
    });
    fc.assert(
      fc.property(entries, (given: FirmwareFooterEntry[]) => {
        expect(parseFirmwareFooter(imageWith(buildFirmwareFooter(given))).entries).toEqual(given);
      }),
    );
  });

  test('areas of base 0 or size 0 and a reset address of 0 are not supported', () => {
    const footer = parseFirmwareFooter(
      imageWith(
        buildFirmwareFooter([
          resetBlockEntry(0),
          secretAreaEntry({ base: 0, size: 0x400 }),
          hashTableAreaEntry({ base: 0x1000, size: 0 }),
        ]),
      ),
    );
    expect(footer.entries).toHaveLength(3);
    expect(footer).not.toHaveProperty('resetAddress');
    expect(footer).not.toHaveProperty('secretArea');
    expect(footer).not.toHaveProperty('hashTableArea');
  });

  test('an image without a table has no entries', () => {
    expect(parseFirmwareFooter(new Uint8Array(4096))).toEqual({ entries: [] });
  });

  test('the oldest SEV-ES images have the reset block alone', () => {
    const footer = parseFirmwareFooter(imageWith(entry(firmwareFooterGuids.resetBlock, u32le(0x80b004))));
    expect(footer.resetAddress).toBe(0x80b004);
    expect(footer.entries).toHaveLength(1);
  });

  test('the builder refuses a GUID given twice, the table’s own included', () => {
    const twice = [resetBlockEntry(1), resetBlockEntry(2)];
    expect(() => buildFirmwareFooter(twice)).toThrow(InvalidArgumentError);
    const own = [{ guid: firmwareFooterGuids.table.toUpperCase(), data: new Uint8Array() }];
    expect(() => buildFirmwareFooter(own)).toThrow(InvalidArgumentError);
    const huge = [{ guid: other, data: new Uint8Array(0x10000) }];
    expect(() => buildFirmwareFooter(huge)).toThrow(InvalidArgumentError);
  });
});

describe('hostile firmware footers', () => {
  const table = (length: number) => entry(firmwareFooterGuids.table, new Uint8Array(), length);
  const block = entry(other, new Uint8Array(4));

  test.each<[string, Uint8Array]>([
    ['a table shorter than its own entry', imageWith(table(17), block)],
    ['a table of no length', imageWith(table(0), block)],
    ['a table longer than the image', imageWith(table(4096), block)],
    ['a table that ends inside an entry', imageWith(table(18 + 21), block)],
    ['a table that ends inside an entry’s trailer', imageWith(table(18 + 17), block)],
    ['an entry shorter than 18', imageWith(table(18 + 22), entry(other, new Uint8Array(4), 17))],
    ['an entry of length 0', imageWith(table(18 + 22), entry(other, new Uint8Array(4), 0))],
    ['an entry that leaves the table', imageWith(table(18 + 22), entry(other, new Uint8Array(4), 23))],
    ['an entry given twice', imageWith(table(18 + 44), concat(block, block))],
    [
      'a reset block of 3 bytes',
      imageWith(table(18 + 21), entry(firmwareFooterGuids.resetBlock, new Uint8Array(3))),
    ],
    ['a reset block alone, of 5 bytes', imageWith(entry(firmwareFooterGuids.resetBlock, new Uint8Array(5)))],
    [
      'a secret area of 4 bytes',
      imageWith(table(18 + 22), entry(firmwareFooterGuids.secretArea, new Uint8Array(4))),
    ],
  ])('%s is malformed', (_what, image) => {
    expect(() => parseFirmwareFooter(image)).toThrow(MalformedError);
  });

  test.each([0, 1, 50, 4095, 4097])('an image of %d bytes is malformed', (length) => {
    expect(() => parseFirmwareFooter(new Uint8Array(length))).toThrow(
      expect.objectContaining({ code: 'malformed', structure: 'firmware image', field: 'length' }),
    );
  });

  test('errors name the offset in the image', () => {
    const image = imageWith(table(18 + 22), entry(other, new Uint8Array(4), 17));
    expect(() => parseFirmwareFooter(image)).toThrow(
      expect.objectContaining({ offset: 4096 - 32 - 18 - 18 }),
    );
  });
});

describe('SEV metadata', () => {
  const section = concat(u32le(0x800000), u32le(0x9000), u32le(1));
  const header = ({ signature = '41534556', length = 28, version = 1, count = 1 } = {}) =>
    concat(fromHex(signature), u32le(length), u32le(version), u32le(count));

  function imageOf(metadata: Uint8Array, distance?: number): Uint8Array {
    const pointer = (value: number) => ({ guid: firmwareFooterGuids.sevMetadata, data: u32le(value) });
    const tableSize = buildFirmwareFooter([pointer(0)]).length;
    return imageWith(buildFirmwareFooter([pointer(distance ?? metadata.length + tableSize + 32)]), metadata);
  }

  test('is read from where the footer says', () => {
    const { sevMetadata } = parseFirmwareFooter(imageOf(concat(header(), section)));
    expect(sevMetadata?.sections).toEqual([{ gpa: 0x800000, size: 0x9000, type: 1 }]);
  });

  test('claims no more descriptors than there is room for', () => {
    const count = 0x1000000;
    const image = imageOf(concat(header({ count, length: 16 + 12 * count }), section));
    expect(() => parseFirmwareFooter(image)).toThrow(expect.objectContaining({ structure: 'SEV metadata' }));
  });

  test('is not read from before the image', () => {
    const image = imageOf(new Uint8Array(), 2 * 4096);
    image.set(concat(header(), section));
    expect(() => parseFirmwareFooter(image)).toThrow(MalformedError);
  });

  test.each<[string, Uint8Array]>([
    ['another signature', imageOf(concat(header({ signature: '41534557' }), section))],
    ['another version', imageOf(concat(header({ version: 2 }), section))],
    ['a length that does not fit its count', imageOf(concat(header({ length: 40 }), section))],
    ['a count far beyond the image', imageOf(concat(header({ count: 0xffffffff, length: 28 }), section))],
    [
      'descriptors beyond the image',
      imageOf(concat(header({ count: 0x1000, length: 16 + 12 * 0x1000 }), section)),
    ],
    ['a place outside the image', imageOf(concat(header(), section), 4097)],
    ['a place in the last bytes', imageOf(concat(header(), section), 15)],
  ])('%s is malformed', (_what, image) => {
    expect(() => parseFirmwareFooter(image)).toThrow(MalformedError);
  });
});

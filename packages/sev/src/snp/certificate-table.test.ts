import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concat, fromHex, toHex } from '../bytes.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { byteArray } from '../testing/mutations.js';
import { describeWithVectors, vectors } from '../testing/vectors.js';
import {
  buildCertificateTable,
  certificateTableEntry,
  certificateTableGuids,
  endorsementsOfTable,
  parseCertificateTable,
  processorOfTable,
} from './certificate-table.js';
import { cpuidSignature } from './product-line.js';

const utf8 = (text: string) => new TextEncoder().encode(text);
const other = '00112233-4455-6677-8899-aabbccddeeff';
const entry = (kind: keyof typeof certificateTableGuids, bytes: Uint8Array = utf8(kind)) => ({
  guid: certificateTableGuids[kind],
  kind,
  bytes,
});

describeWithVectors('a genuine host’s table', () => {
  const table = vectors('snp/evidence/genoa-v3-tsm.auxblob.bin');

  test('has the entries that the sheet lists, in PEM', () => {
    const entries = parseCertificateTable(table);
    expect(entries.map(({ kind, bytes }) => [kind, bytes.length])).toEqual([
      ['ARK', 2277],
      ['ASK', 2325],
      ['VCEK', 1879],
    ]);
    expect(toHex(entries[2]!.bytes)).toBe(toHex(vectors('snp/reports/genoa-v3-tsm.vcek.pem')));
    expect(toHex(buildCertificateTable(entries))).toBe(toHex(table));
  });

  test('offers what verifies a report', () => {
    const { vek, certificates, revocationLists } = endorsementsOfTable(parseCertificateTable(table), 'VCEK');
    expect(vek).toHaveLength(1879);
    expect(certificates.map(({ length }) => length)).toEqual([2277, 2325]);
    expect(revocationLists).toEqual([]);
    expect(endorsementsOfTable(parseCertificateTable(table), 'VLEK')).not.toHaveProperty('vek');
  });
});

describe('a table', () => {
  test('has its GUIDs in the order of their text', () => {
    const table = buildCertificateTable([entry('VCEK')]);
    expect(toHex(table.subarray(0, 16))).toBe('63da758de6644564adc5f4b93be8accd');
    expect(toHex(table)).toBe(`63da758de6644564adc5f4b93be8accd3000000004000000${'00'.repeat(24)}5643454b`);
  });

  test('without entries is no bytes, zeros, or a closing entry', () => {
    expect(parseCertificateTable(new Uint8Array())).toEqual([]);
    expect(parseCertificateTable(new Uint8Array(4096))).toEqual([]);
    expect(parseCertificateTable(new Uint8Array(5))).toEqual([]);
    expect(parseCertificateTable(buildCertificateTable([]))).toEqual([]);
    expect(parseCertificateTable(concat(new Uint8Array(24), utf8('unread')))).toEqual([]);
  });

  test('may hold what we do not know, and may be padded', () => {
    const entries = [entry('CRL'), { guid: other, kind: 'other', bytes: utf8('?') }];
    const table = concat(buildCertificateTable(entries), new Uint8Array(100));
    expect(parseCertificateTable(table)).toEqual(entries);
  });

  test('with both kinds of VEK gives the one that signed', () => {
    const entries = parseCertificateTable(
      buildCertificateTable([entry('VCEK'), entry('VLEK'), entry('CRL'), entry('ARK'), entry('ASK')]),
    );
    expect(endorsementsOfTable(entries, 'VCEK').vek).toEqual(utf8('VCEK'));
    expect(endorsementsOfTable(entries, 'VLEK').vek).toEqual(utf8('VLEK'));
    expect(endorsementsOfTable(entries, 'VLEK').revocationLists).toEqual([utf8('CRL')]);
    expect(endorsementsOfTable(entries, 'VLEK').certificates).toEqual([utf8('ARK'), utf8('ASK')]);
  });

  test('may name the processor', () => {
    const siena = { family: 0x19, model: 0xa0, stepping: 2 };
    const bytes = concat(fromHex('08000000'), new Uint8Array(Uint32Array.of(cpuidSignature(siena)).buffer));
    const table = buildCertificateTable([entry('PLATFORM', bytes)]);
    expect(processorOfTable(parseCertificateTable(table))).toEqual(siena);
    expect(processorOfTable([])).toBeUndefined();
    expect(() => processorOfTable([entry('PLATFORM', utf8('?'))])).toThrow(MalformedError);
    expect(() => processorOfTable([entry('PLATFORM', fromHex('0900000011070000'))])).toThrow(MalformedError);
  });

  test('gives copies', () => {
    const table = Buffer.from(buildCertificateTable([entry('ARK')]));
    const [ark] = parseCertificateTable(table);
    expect(ark?.bytes.constructor).toBe(Uint8Array);
    table.fill(0);
    expect(ark?.bytes).toEqual(utf8('ARK'));
  });

  test('reads what it writes', () => {
    const guids = Object.values(certificateTableGuids);
    const entries = fc
      .uniqueArray(fc.constantFrom(...guids, other))
      .chain((chosen) =>
        fc.tuple(...chosen.map((guid) => byteArray(1, 40).map((bytes) => ({ guid, bytes })))),
      );
    fc.assert(
      fc.property(entries, fc.nat(30), (each, padding) => {
        const table = concat(buildCertificateTable(each), new Uint8Array(padding));
        expect(parseCertificateTable(table).map(({ guid, bytes }) => ({ guid, bytes }))).toEqual(each);
      }),
    );
  });

  test('cannot be built with a GUID twice, none, or an entry without bytes', () => {
    const twice = [entry('ARK'), { ...entry('ARK'), guid: certificateTableGuids.ARK.toUpperCase() }];
    const none = [{ guid: '00000000-0000-0000-0000-000000000000', bytes: utf8('?') }];
    for (const entries of [
      twice,
      none,
      [entry('ARK', new Uint8Array())],
      [{ guid: 'ark', bytes: utf8('?') }],
    ])
      expect(() => buildCertificateTable(entries)).toThrow(InvalidArgumentError);
  });
});

describe('a hostile table', () => {
  const ark = fromHex(certificateTableGuids.ARK.replaceAll('-', ''));
  const ask = fromHex(certificateTableGuids.ASK.replaceAll('-', ''));
  const row = (guid: Uint8Array, offset: number, length: number) =>
    certificateTableEntry.build({ guid, offset, length });
  const closing = new Uint8Array(24);
  const body = (length: number) => new Uint8Array(length).fill(7);
  const refusal = (table: Uint8Array) => {
    try {
      parseCertificateTable(table, { offset: 0x100, path: 'auxblob' });
    } catch (error) {
      if (error instanceof MalformedError) return error;
      throw error;
    }
    throw new Error('the table was accepted');
  };

  test.each([
    ['is not closed', row(ark, 24, 0), 'closing entry', 24],
    ['ends inside an entry', concat(row(ark, 48, 1), new Uint8Array(23)), 'closing entry', 24],
    ['is shorter than an entry', body(10), 'closing entry', 0],
    [
      'closes with an offset',
      concat(row(ark, 48, 1), row(closing.subarray(8), 48, 0), body(1)),
      'closing entry',
      24,
    ],
    [
      'closes with a length',
      concat(row(ark, 48, 1), row(closing.subarray(8), 0, 1), body(1)),
      'closing entry',
      24,
    ],
    ['points into the head', concat(row(ark, 47, 2), closing, body(4)), 'offset', 0],
    ['points at the head', concat(row(ark, 0, 24), closing, body(4)), 'offset', 0],
    ['points behind the end', concat(row(ark, 52, 1), closing, body(4)), 'offset', 0],
    ['reaches behind the end', concat(row(ark, 48, 5), closing, body(4)), 'offset', 0],
    ['wraps around 32 bits', concat(row(ark, 48, 0xffff_fff0), closing, body(4)), 'offset', 0],
    ['lies in offset and length', concat(row(ark, 0xffff_ffff, 0xffff_ffff), closing, body(4)), 'offset', 0],
    ['has an empty entry', concat(row(ark, 48, 0), closing, body(4)), 'length', 0],
    ['names a GUID twice', concat(row(ark, 72, 1), row(ark, 73, 1), closing, body(4)), 'guid', 24],
    ['shares a byte', concat(row(ark, 72, 2), row(ask, 73, 2), closing, body(4)), 'offset', 24],
    ['shares all bytes', concat(row(ark, 72, 4), row(ask, 72, 4), closing, body(4)), 'offset', 24],
    [
      'shares bytes in the other order',
      concat(row(ark, 74, 2), row(ask, 72, 3), closing, body(4)),
      'offset',
      0,
    ],
  ])('that %s is refused', (_title, table, field, at) => {
    expect(refusal(table)).toMatchObject({ structure: 'auxblob', field, offset: 0x100 + at });
  });

  test('with entries that touch is none', () => {
    const table = concat(row(ark, 74, 2), row(ask, 72, 2), closing, body(4));
    expect(parseCertificateTable(table)).toHaveLength(2);
  });
});

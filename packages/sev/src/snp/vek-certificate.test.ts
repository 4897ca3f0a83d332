import { beforeAll, describe, expect, test } from 'vitest';
import { concat, fromHex, toHex } from '../bytes.js';
import { MalformedError } from '../errors.js';
import { generateCaKey } from '../testing/development-platform.js';
import { makeEndorser, type TestEndorser, vekOf } from '../testing/endorsements.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import type { X509Certificate } from '../x509/certificate.js';
import type { X509Extension } from '../x509/extension.js';
import { readCertificates } from '../x509/files.js';
import { timeText } from '../x509/time.js';
import { productLines } from './product-line.js';
import type { TcbVersion } from './tcb-version.js';
import { parseVek, vekExtensionsOf } from './vek-certificate.js';

const veks = [
  'genoa-v3-tsm.vcek.pem',
  'genoa-v5-siena.vcek.der',
  'milan-v2-debug.vcek.der',
  'milan-v2-idblock.vcek.der',
  'milan-v3-oak.vcek.der',
  'milan-v3-vlek-aws.vlek.der',
  'turin-v5-azure.vcek.pem',
] as const;

interface Expected {
  readonly product: string;
  readonly report: { readonly reportedTcb: TcbVersion; readonly chipId: string };
  readonly vek: {
    readonly kind: string;
    readonly notBefore: string;
    readonly notAfter: string;
    readonly extensions: Readonly<Record<string, string>>;
  };
}

describeWithVectors('real VEKs', () => {
  test.each(veks)('%s reads as expected', (file) => {
    const expected = jsonVector<Expected>(`snp/reports/${file.split('.')[0]}.json`);
    const [certificate] = readCertificates(vectors(`snp/reports/${file}`));
    const vek = parseVek(certificate!);
    const { extensions } = expected.vek;
    const text = (suffix: string) =>
      new TextDecoder().decode(Buffer.from(extensions[suffix] ?? '', 'hex').subarray(2));
    expect(vek).toEqual({
      kind: expected.vek.kind,
      line: expected.product,
      productName: text('2'),
      tcb: expected.report.reportedTcb,
      ...(expected.vek.kind === 'VCEK'
        ? { hwid: new Uint8Array(Buffer.from(extensions['4'] ?? '', 'hex')) }
        : { cspId: text('5') }),
    });
    if (vek.hwid !== undefined) expect(expected.report.chipId.startsWith(toHex(vek.hwid))).toBe(true);
    expect(timeText(certificate!.notBefore)).toBe(expected.vek.notBefore);
    expect(timeText(certificate!.notAfter)).toBe(expected.vek.notAfter);
    const values = certificate!.extensions.map(({ oid, value }) => [
      oid.slice('1.3.6.1.4.1.3704.1.'.length),
      toHex(value),
    ]);
    expect(Object.fromEntries(values)).toEqual(extensions);
    expect(values).toHaveLength(Object.keys(extensions).length);
  });
});

describeWithVectors('VCEKs of 2023 with broken signatures', () => {
  const counted = Uint8Array.from({ length: 64 }, (_, i) => i);
  test.each([
    ['vcek-hwid-raw.invalid.der', { bootloader: 3, tee: 0, snp: 10, microcode: 169 }],
    ['vcek-hwid-octetstring.invalid.der', { bootloader: 0, tee: 0, snp: 0, microcode: 30 }],
  ])('%s reads', (file, tcb) => {
    const [certificate] = readCertificates(vectors(`snp/certs/${file}`));
    expect(parseVek(certificate!)).toEqual({
      kind: 'VCEK',
      line: 'Milan',
      productName: 'Milan-B0',
      tcb,
      hwid: counted,
    });
  });
});

const arc = (suffix: string) => `1.3.6.1.4.1.3704.1.${suffix}`;

/** The extensions of a VEK as if they had been read from a certificate. */
const extensionsOf = (vek: Parameters<typeof vekExtensionsOf>[0]): X509Extension[] =>
  vekExtensionsOf(vek).map((each, i) => ({ ...each, critical: false, offset: 1000 + i }));

/** Replaces the value of one extension; `undefined` leaves it out. */
const withValue = (list: X509Extension[], suffix: string, value: string | undefined) =>
  list.flatMap((each) => {
    if (each.oid !== arc(suffix)) return [each];
    return value === undefined ? [] : [{ ...each, value: fromHex(value) }];
  });

const milan = extensionsOf(vekOf('VCEK', 'Milan'));
const turin = extensionsOf(vekOf('VCEK', 'Turin'));
const vlek = extensionsOf(vekOf('VLEK', 'Milan'));
const named = (list: X509Extension[], suffix: string) => list.find(({ oid }) => oid === arc(suffix))!;

function refusal(extensions: readonly X509Extension[]): string {
  try {
    parseVek({ extensions });
  } catch (error) {
    if (error instanceof MalformedError) return error.message;
    throw error;
  }
  return 'none';
}

describe('the extensions of a VEK', () => {
  test.each(productLines.flatMap((line) => [['VCEK', line] as const, ['VLEK', line] as const]))(
    '%s of %s come back',
    (kind, line) => {
      const vek = vekOf(kind, line);
      expect(parseVek({ extensions: extensionsOf(vek) })).toEqual(vek);
      const largest = Object.fromEntries(Object.keys(vek.tcb).map((name) => [name, 255]));
      const extreme = { ...vek, tcb: largest as unknown as TcbVersion };
      expect(parseVek({ extensions: extensionsOf(extreme) })).toEqual(extreme);
    },
  );

  test.each([
    ...milan.map(({ oid }) => ['Milan', oid, milan] as const),
    ...turin.map(({ oid }) => ['Turin', oid, turin] as const),
    ...vlek.filter(({ oid }) => oid !== arc('5')).map(({ oid }) => ['Milan, VLEK', oid, vlek] as const),
  ])('of %s without %s are refused', (_, oid, list) => {
    expect(refusal(list.filter((each) => each.oid !== oid))).toMatch(/expected the extension, found none$/);
  });

  test('without the operator a VLEK is a VCEK without a chip', () => {
    expect(refusal(withValue(vlek, '5', undefined))).toContain(
      'hwID at offset 0x0: expected the extension, found none',
    );
  });

  test.each([...milan, ...turin.slice(0, 3), ...vlek.slice(-1)].map((each) => [each.oid, each] as const))(
    'with %s twice are refused',
    (_, each) => {
      const list = milan.includes(each) ? milan : turin.includes(each) ? turin : vlek;
      expect(refusal([...list, each])).toContain('expected it once, found it twice');
    },
  );

  test.each(milan.map(({ oid }, i) => [oid, i] as const))('with %s critical are refused', (_, index) => {
    const list = milan.with(index, { ...milan[index]!, critical: true });
    expect(refusal(list)).toContain('expected an extension that is not critical');
  });

  test.each<[string, X509Extension[], string]>([
    [
      'a stranger',
      [...milan, { ...milan[0]!, oid: arc('6') }],
      'list at offset 0x3e8: expected extensions of a VEK',
    ],
    [
      'one of an authority',
      [...milan, { ...milan[0]!, oid: '2.5.29.15' }],
      'the extension keyUsage (2.5.29.15)',
    ],
    [
      'chip and operator',
      [...milan, named(vlek, '5')],
      'hwID at offset 0x3f2: expected none in a VLEK of Milan, found one',
    ],
    [
      'an FMC in Milan',
      [...milan, named(turin, '3.9')],
      'fmcSPL at offset 0x3ea: expected none in a VCEK of Milan',
    ],
    [
      'spl4 in Turin',
      [...turin, named(milan, '3.4')],
      'spl4 at offset 0x3ec: expected none in a VCEK of Turin',
    ],
    [
      'structure version 1 in Milan',
      withValue(milan, '1', '020101'),
      'structVersion at offset 0x3e8: expected 0, as Milan has, found 1',
    ],
    ['structure version 0 in Turin', withValue(turin, '1', '020100'), 'expected 1, as Turin has, found 0'],
    ['structure version 2', withValue(milan, '1', '020102'), 'expected 0, as Milan has, found 2'],
    ['no product', withValue(milan, '2', '1600'), 'productName1 at offset 0x3e9: expected printable ASCII'],
    [
      'an unknown product',
      withValue(milan, '2', '1604526f6d65'),
      'expected a product line, with a stepping or without, found Rome',
    ],
    ['half a stepping', withValue(milan, '2', `16074d696c616e2d42`), 'found Milan-B'],
    ['two steppings', withValue(milan, '2', `160b4d696c616e2d42302d4231`), 'found Milan-B0-B1'],
    [
      'a product in UTF-8',
      withValue(milan, '2', '0c054d696c616e'),
      'expected an IA5String, found a UTF8String',
    ],
    ['a product with a line break', withValue(milan, '2', '16064d696c616e0a'), 'expected printable ASCII'],
    [
      'an oversized product',
      withValue(milan, '2', `1681fa${'4d'.repeat(250)}`),
      'expected at most 128 bytes, found 253',
    ],
    [
      'a version of 256',
      withValue(milan, '3.3', '02020100'),
      'snpSPL at offset 0x3f0: expected 0 to 255, found 256',
    ],
    ['a version of 128 in one octet', withValue(milan, '3.8', '020180'), 'expected an INTEGER of 0 or more'],
    ['a version with a leading zero', withValue(milan, '3.8', '02020001'), 'in its shortest form'],
    ['a version of three octets', withValue(milan, '3.8', '0203010000'), 'at most 2 octets'],
    [
      'a version and more',
      withValue(milan, '3.1', '0201040500'),
      'blSPL.end at offset 0x3ed: expected no trailing bytes',
    ],
    ['an empty version', withValue(milan, '3.1', ''), 'expected an INTEGER, found the end of the value'],
    [
      'a chip id of 63 bytes',
      withValue(milan, '4', '00'.repeat(63)),
      'hwID at offset 0x3f2: expected 64 bytes, raw or in an OCTET STRING, found 63 bytes',
    ],
    ['a chip id of 65 bytes', withValue(milan, '4', '00'.repeat(65)), 'found 65 bytes'],
    ['a chip id of 67 bytes', withValue(milan, '4', '00'.repeat(67)), 'found 67 bytes'],
    [
      '66 bytes that are no OCTET STRING',
      withValue(milan, '4', `0440`.padEnd(132, '0').replace('0440', '0540')),
      'expected an OCTET STRING',
    ],
    ['66 bytes whose length lies', withValue(milan, '4', `043f${'00'.repeat(64)}`), 'hwID.end at offset'],
    ['a chip id of 8 bytes in Milan', withValue(milan, '4', '00'.repeat(8)), 'found 8 bytes'],
    [
      'a chip id of 64 bytes in Turin',
      withValue(turin, '4', '00'.repeat(64)),
      'expected 8 bytes, raw or in an OCTET STRING, found 64 bytes',
    ],
    ['an empty operator', withValue(vlek, '5', '1600'), 'cspID at offset'],
    [
      'an oversized operator',
      withValue(vlek, '5', `1681c8${'41'.repeat(200)}`),
      'expected at most 128 bytes',
    ],
    ...['3.4', '3.5', '3.6', '3.7'].map((suffix): [string, X509Extension[], string] => [
      `a reserved ${suffix} of 1`,
      withValue(milan, suffix, '020101'),
      'expected 0, found 1',
    ]),
    ['a reserved 3.5 of 1 in Turin', withValue(turin, '3.5', '020101'), 'spl5 at offset'],
  ])('with %s are refused', (_, list, message) => {
    expect(refusal(list)).toContain(message);
  });

  test('a chip id may begin like an OCTET STRING', () => {
    const hwid = concat(fromHex('043e'), new Uint8Array(62));
    expect(parseVek({ extensions: withValue(milan, '4', toHex(hwid)) }).hwid).toEqual(hwid);
    const boxed = parseVek({ extensions: withValue(milan, '4', `0440${toHex(hwid)}`) });
    expect(boxed.hwid).toEqual(hwid);
    const short = fromHex('0406000000000000');
    expect(parseVek({ extensions: withValue(turin, '4', toHex(short)) }).hwid).toEqual(short);
    expect(parseVek({ extensions: withValue(turin, '4', `0408${toHex(short)}`) }).hwid).toEqual(short);
  });

  test('the order does not matter', () => {
    expect(parseVek({ extensions: milan.toReversed() })).toEqual(vekOf('VCEK', 'Milan'));
  });
});

describe('a VEK of a development authority', () => {
  let endorser: TestEndorser;
  beforeAll(async () => {
    const key = generateCaKey(2048);
    endorser = await makeEndorser('Turin', { ARK: key, ASK: key, ASVK: key });
  });

  test.each(['VCEK', 'VLEK'] as const)('%s reads as it was ordered', async (kind) => {
    const certificate: X509Certificate = await endorser.vek(kind);
    expect(parseVek(certificate)).toEqual(vekOf(kind, 'Turin'));
  });
});

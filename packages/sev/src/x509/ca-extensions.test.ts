import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concat, fromHex, toHex } from '../bytes.js';
import { MalformedError } from '../errors.js';
import {
  authorityKeyIdExtension,
  basicConstraintsExtension,
  crlDistributionPointsExtension,
  keyUsageExtension,
  parseAuthorityKeyId,
  parseBasicConstraints,
  parseCrlDistributionPoints,
  parseKeyUsage,
  parseSubjectKeyId,
  subjectKeyIdExtension,
  x509KeyUsages,
} from './ca-extensions.js';
import { derElement, derInteger, derNull, derSequence } from './der-writer.js';
import type { NewExtension, X509Extension } from './extension.js';

const of = (value: Uint8Array | string, offset = 50): X509Extension => ({
  oid: '1.2.3',
  critical: false,
  value: typeof value === 'string' ? fromHex(value) : value,
  offset,
});
const written = ({ value }: NewExtension) => of(value);

describe('basic constraints', () => {
  test.each([
    ['3000', { ca: false, pathLength: undefined }],
    ['30030101ff', { ca: true, pathLength: undefined }],
    ['30060101ff020100', { ca: true, pathLength: 0 }],
    ['30070101ff02020100', { ca: true, pathLength: 256 }],
  ])('%s', (hex, value) => {
    expect(parseBasicConstraints(of(hex))).toEqual(value);
    expect(toHex(basicConstraintsExtension(value).value)).toBe(hex);
  });

  test.each(['', '0500', '30030101ff00', '30080101ff0203010000', '30050101ff0500', '30060201000101ff'])(
    '%s is refused',
    (hex) => {
      expect(() => parseBasicConstraints(of(hex))).toThrow(MalformedError);
    },
  );

  test('a complaint counts from the first byte of the whole', () => {
    expect(() => parseBasicConstraints(of('30030101ff00'))).toThrow('basicConstraints: end at offset 0x37');
  });
});

describe('key usage', () => {
  test.each([
    ['03020106', ['keyCertSign', 'cRLSign']],
    ['03020204', ['keyCertSign']],
    ['03020780', ['digitalSignature']],
    ['0303070080', ['decipherOnly']],
  ] as const)('%s', (hex, names) => {
    expect(parseKeyUsage(of(hex))).toEqual(names);
    expect(toHex(keyUsageExtension(names).value)).toBe(hex);
  });

  test('AMD’s ASK writes a zero bit that DER leaves out', () => {
    expect(parseKeyUsage(of('03020104'))).toEqual(['keyCertSign']);
  });

  test('any comes back', () => {
    const property = fc.property(fc.subarray([...x509KeyUsages], { minLength: 1 }), (names) => {
      expect(parseKeyUsage(written(keyUsageExtension(names)))).toEqual(names);
    });
    fc.assert(property);
  });

  test.each(['', '0500', '0302010600', '030400000001', '03020107'])('%s is refused', (hex) => {
    expect(() => parseKeyUsage(of(hex))).toThrow(MalformedError);
  });
});

describe('key ids', () => {
  const id = fromHex('3bc66e182ac3fd3d6264489be3b7472cb4fcbff8');

  test('come back', () => {
    expect(parseSubjectKeyId(written(subjectKeyIdExtension(id)))).toEqual(id);
    expect(parseAuthorityKeyId(written(authorityKeyIdExtension(id)))).toEqual(id);
    expect(toHex(authorityKeyIdExtension(id).value)).toBe(`30168014${toHex(id)}`);
  });

  test('of no bytes or too many are refused', () => {
    for (const length of [0, 65]) {
      const strange = new Uint8Array(length);
      expect(() => parseSubjectKeyId(written(subjectKeyIdExtension(strange)))).toThrow(
        `expected 1 to 64 bytes, found ${length}`,
      );
      expect(() => parseAuthorityKeyId(written(authorityKeyIdExtension(strange)))).toThrow(
        'expected 1 to 64 bytes',
      );
    }
    expect(parseSubjectKeyId(written(subjectKeyIdExtension(new Uint8Array(64))))).toHaveLength(64);
  });

  test('with anything beside them are refused', () => {
    const { value } = subjectKeyIdExtension(id);
    expect(() => parseSubjectKeyId(of(concat(value, derNull())))).toThrow(MalformedError);
    const serial = derElement(0x82, Uint8Array.of(1));
    expect(() => parseAuthorityKeyId(of(derSequence(derElement(0x80, id), serial)))).toThrow(
      'no trailing bytes',
    );
    expect(() => parseAuthorityKeyId(of(derSequence()))).toThrow(MalformedError);
  });
});

describe('CRL distribution points', () => {
  const uri = 'https://kdsintf.amd.com/vcek/v1/Milan/crl';
  const point = (...parts: Uint8Array[]) => of(derSequence(derSequence(...parts)));
  const name = (uriBytes: Uint8Array, tag = 0x86) =>
    derElement(0xa0, derElement(0xa0, derElement(tag, uriBytes)));
  const ascii = new TextEncoder().encode(uri);

  test('come back', () => {
    expect(parseCrlDistributionPoints(written(crlDistributionPointsExtension([uri])))).toEqual([uri]);
    expect(parseCrlDistributionPoints(written(crlDistributionPointsExtension(['a', 'b'])))).toEqual([
      'a',
      'b',
    ]);
    expect(toHex(crlDistributionPointsExtension([uri]).value)).toBe(`3031302fa02da02b8629${toHex(ascii)}`);
  });

  test('of other forms are refused', () => {
    expect(parseCrlDistributionPoints(point(name(ascii)))).toEqual([uri]);
    expect(() => parseCrlDistributionPoints(point(name(ascii, 0x82)))).toThrow('expected [6], found [2]');
    expect(() => parseCrlDistributionPoints(point(name(Uint8Array.of(0xe9))))).toThrow(
      'expected a URI in ASCII',
    );
    expect(() => parseCrlDistributionPoints(point(name(ascii), derElement(0x81, new Uint8Array(2))))).toThrow(
      'no trailing',
    );
    expect(() => parseCrlDistributionPoints(point())).toThrow(MalformedError);
    expect(() => parseCrlDistributionPoints(of(derInteger(1)))).toThrow(MalformedError);
    const many = Array.from({ length: 9 }, () => 'a');
    expect(() => parseCrlDistributionPoints(written(crlDistributionPointsExtension(many)))).toThrow(
      'at most 8',
    );
    expect(() => parseCrlDistributionPoints(of(new Uint8Array(4097)))).toThrow('expected at most 4096 bytes');
  });
});

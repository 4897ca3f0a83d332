import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MalformedError } from '../errors.js';
import { byteArray } from '../testing/mutations.js';
import { encodePem, looksLikePem, parsePem, parsePemBlocks } from './pem.js';

const one = encodePem('CERTIFICATE', Uint8Array.of(1, 2, 3));
const bytesOf = (text: string) => new TextEncoder().encode(text);

describe('PEM', () => {
  test('any bytes come back, in lines of 64', () => {
    const property = fc.property(fc.array(byteArray(0, 200), { minLength: 1, maxLength: 3 }), (contents) => {
      const text = contents.map((each) => encodePem('X509 CRL', each)).join('');
      expect(parsePem(text, 'X509 CRL')).toEqual(contents);
      expect(text.split('\n').every((line) => line.length <= 64)).toBe(true);
    });
    fc.assert(property);
  });

  test('lines end either way, and white space may surround blocks', () => {
    expect(parsePem(` \r\n\t${one.replaceAll('\n', '\r\n')}\n\n${one}  `, 'CERTIFICATE')).toEqual([
      Uint8Array.of(1, 2, 3),
      Uint8Array.of(1, 2, 3),
    ]);
    expect(parsePem(one.trimEnd(), 'CERTIFICATE')).toHaveLength(1);
  });

  test('blocks tell where they begin', () => {
    expect(parsePemBlocks(`\n${one}${one}`).map(({ offset }) => offset)).toEqual([1, 1 + one.length]);
  });

  test.each([
    ['text before', `subject=x\n${one}`, 'expected -----BEGIN LABEL-----, found other text'],
    ['text between', `${one}x\n${one}`, 'expected -----BEGIN LABEL-----, found other text'],
    ['text after', `${one}x`, 'block 2 at offset 0x3b: expected -----BEGIN LABEL-----'],
    ['a broken beginning', one.replace('-----B', '----B'), 'expected -----BEGIN LABEL-----'],
    ['text beside the beginning', one.replace('E-----\n', 'E----- x\n'), 'expected -----BEGIN LABEL-----'],
    ['no end', one.slice(0, 40), 'expected -----END CERTIFICATE-----, found no such line'],
    ['another end', one.replace('END CERTIFICATE', 'END X509 CRL'), 'expected -----END CERTIFICATE-----'],
    [
      'a headless body',
      one.replace('AQID', 'Proc-Type: 4,ENCRYPTED'),
      'expected canonical base64 with padding',
    ],
    ['padding in the middle', one.replace('AQID', 'AQ==\nAQ=='), 'expected canonical base64 with padding'],
    ['no padding', one.replace('AQID', 'AQI'), 'expected canonical base64 with padding'],
    ['spare bits', one.replace('AQID', 'AQJ='), 'expected canonical base64 with padding'],
    ['a block of another kind', encodePem('X509 CRL', new Uint8Array(3)), 'found a block of X509 CRL'],
    ['a block of no kind', one.replaceAll('CERTIFICATE', ''), 'found a block of no label'],
    ['nothing', '  ', 'label at offset 0x0: expected CERTIFICATE, found no block'],
    ['too many blocks', one.repeat(65), 'block 65 at offset 0xec0: expected at most 64 blocks'],
  ])('refuses %s', (_, text, message) => {
    expect(() => parsePem(text, 'CERTIFICATE')).toThrow(MalformedError);
    expect(() => parsePem(text, 'CERTIFICATE')).toThrow(message);
  });

  test('is told from DER by its dashes', () => {
    expect(looksLikePem(bytesOf(one))).toBe(true);
    expect(looksLikePem(bytesOf(`\r\n ${one}`))).toBe(true);
    for (const bytes of [
      new Uint8Array(0),
      bytesOf('  '),
      Uint8Array.of(0x30, 3, 2, 1, 0),
      bytesOf('--- no'),
    ])
      expect(looksLikePem(bytes)).toBe(false);
  });
});

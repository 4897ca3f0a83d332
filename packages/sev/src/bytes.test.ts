import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  concat,
  equalBytes,
  fromBase64,
  fromHex,
  isZero,
  reversed,
  toBase64,
  toHex,
  u32le,
} from './bytes.js';
import { InvalidArgumentError } from './errors.js';

const anyBytes = fc.uint8Array({ maxLength: 300 });

describe('hexadecimal', () => {
  test('is what Node makes of it', () => {
    fc.assert(fc.property(anyBytes, (bytes) => toHex(bytes) === Buffer.from(bytes).toString('hex')));
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        expect(fromHex(toHex(bytes).toUpperCase())).toEqual(bytes);
      }),
    );
  });

  test.each(['0', '0g', ' 00', '00\n', '0x00', '00 00', '०0'])('%j is refused', (text) => {
    expect(() => fromHex(text)).toThrow(InvalidArgumentError);
  });

  test('the error names the argument and does not repeat the text', () => {
    expect(() => fromHex('feedfacx', 'disk key')).toThrow(/^disk key: /);
    expect(() => fromHex('feedfacx', 'disk key')).not.toThrow(/feedfacx/);
  });
});

describe('base64', () => {
  test('is what Node makes of it', () => {
    fc.assert(fc.property(anyBytes, (bytes) => toBase64(bytes) === Buffer.from(bytes).toString('base64')));
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        expect(fromBase64(toBase64(bytes))).toEqual(bytes);
      }),
    );
  });

  test('of many bytes', () => {
    const bytes = new Uint8Array(300_000).map((_, i) => i * 7);
    expect(fromBase64(toBase64(bytes))).toEqual(bytes);
  });

  test('may have white space around it and line breaks in it', () => {
    expect([...fromBase64(' AQ\r\nID\n ')]).toEqual([1, 2, 3]);
  });

  test.each(['A', 'AQ', 'AQ=', 'AR==', 'AQ==AQ==', 'A_-=', 'AQ I=', 'AQID!', '====', 'AQI\u0000'])(
    '%j is refused',
    (text) => {
      expect(() => fromBase64(text, 'payload')).toThrow(InvalidArgumentError);
    },
  );
});

describe('arrays', () => {
  test('concat makes one new array', () => {
    const parts = [Uint8Array.of(1), new Uint8Array(), Uint8Array.of(2, 3)];
    expect([...concat(...parts)]).toEqual([1, 2, 3]);
    expect(concat()).toEqual(new Uint8Array());
  });

  test('reversed leaves its argument alone, also when it is a Buffer', () => {
    const given = Buffer.from([1, 2, 3]);
    expect([...reversed(given)]).toEqual([3, 2, 1]);
    expect([...given]).toEqual([1, 2, 3]);
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        expect(reversed(reversed(bytes))).toEqual(bytes);
      }),
    );
  });

  test('equalBytes compares length and content', () => {
    expect(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 2))).toBe(true);
    expect(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 3))).toBe(false);
    expect(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 2, 3))).toBe(false);
    expect(equalBytes(Uint8Array.of(1, 2, 3), Uint8Array.of(1, 2))).toBe(false);
    expect(equalBytes(new Uint8Array(), new Uint8Array())).toBe(true);
  });

  test('u32le and isZero', () => {
    expect([...u32le(0x01020304)]).toEqual([4, 3, 2, 1]);
    expect(isZero(new Uint8Array(5))).toBe(true);
    expect(isZero(Uint8Array.of(0, 0, 1))).toBe(false);
  });
});

import { describe, expect, test } from 'vitest';
import { publicKeyText, rsaModulusBits } from './public-key.js';

const rsa = (...modulus: number[]) => ({
  modulus: Uint8Array.from(modulus),
  exponent: Uint8Array.of(1, 0, 1),
});

describe('a public key in words', () => {
  test.each([
    [rsa(0x80), 8],
    [rsa(0xff, 0), 16],
    [rsa(0x01, 0), 9],
    [rsa(0, 0, 0x7f), 7],
    [rsa(), 0],
    [rsa(0, 0), 0],
  ])('bits of %j', (key, bits) => {
    expect(rsaModulusBits(key)).toBe(bits);
    expect(publicKeyText(key)).toBe(`RSA ${bits} bits, exponent 65537`);
  });

  test('a point', () => {
    expect(publicKeyText({ x: new Uint8Array(48), y: new Uint8Array(48) })).toBe('P-384');
  });
});

import { concat, fromHex, openSecret, Secret, systemRandom, toHex } from '@vouchsafe/sev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { seal, sealOverhead, unseal } from './sealing.js';

const bytes = (text: string) => new TextEncoder().encode(text);
const nonce = bytes('ABCDEFGHIJKLMNOPQRSTUVWX');
const key = () => Secret.take(new Uint8Array(32).fill(7));

describe('XAES-256-GCM', () => {
  // C2SP XAES-256-GCM, "Test Vectors": one for each value of the bit that CMAC's doubling depends on.
  it.each([
    ['01', '', 'ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271'],
    ['03', 'c2sp.org/XAES-256-GCM', '986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d'],
  ])('gives the known answer under key %s…', (byte, context, expected) => {
    const sealed = seal(
      Secret.take(fromHex(byte.repeat(32))),
      bytes(context),
      bytes('XAES-256-GCM'),
      () => nonce,
    );
    expect(toHex(sealed)).toBe(toHex(nonce) + expected);
  });

  it('opens what it sealed, and nothing that differs in one bit, its context or its key', () => {
    const anyBytes = fc.uint8Array({ maxLength: 100 });
    const property = fc.property(anyBytes, anyBytes, fc.nat(), (plaintext, context, at) => {
      const sealed = seal(key(), context, plaintext, systemRandom);
      expect(sealed.length).toBe(plaintext.length + sealOverhead);
      expect(openSecret(unseal(key(), context, sealed)!)).toEqual(plaintext);
      const changed = sealed.slice();
      changed[at % sealed.length]! ^= 1 << (at % 8);
      expect(unseal(key(), context, changed)).toBeUndefined();
      expect(unseal(key(), concat(context, Uint8Array.of(0)), sealed)).toBeUndefined();
      expect(unseal(Secret.take(new Uint8Array(32)), context, sealed)).toBeUndefined();
    });
    fc.assert(property);
  });

  it('does not take what is too short to be sealed', () => {
    for (const length of [0, 1, sealOverhead - 1]) {
      expect(unseal(key(), new Uint8Array(), new Uint8Array(length))).toBeUndefined();
    }
  });
});

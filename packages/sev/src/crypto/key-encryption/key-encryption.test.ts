import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex, toHex } from '../../bytes.js';
import { InvalidArgumentError } from '../../errors.js';
import { openSecret, Secret } from '../../secret.js';
import * as node from './node.js';
import { type AgreementCurve, type AgreementKey, agreementSizes, type KeyEncryptionPort } from './types.js';
import * as web from './web.js';

const ports: [string, KeyEncryptionPort, KeyEncryptionPort][] = [
  ['node', node, web],
  ['web', web, node],
];
const curves = Object.keys(agreementSizes) as AgreementCurve[];
const key32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
const flipped = (bytes: Uint8Array, at: number) => {
  const copy = new Uint8Array(bytes);
  copy[at]! ^= 1;
  return copy;
};

describe.each(ports)('key agreement of %s', (_name, port, other) => {
  it.each(curves)('on %s is the same as of the other, and leaves no leading zero out', async (curve) => {
    const size = agreementSizes[curve];
    // Short values come up about once in 256 keys on P-256, and always in the first byte of P-521.
    for (let i = 0; i < (curve === 'P-256' ? 40 : 3); i++) {
      const ours = await port.generateAgreementKey(curve);
      const theirs = await other.generateAgreementKey(curve);
      const { x, y } = ours.publicKey;
      expect([x.length, y.length, ours.scalar.length]).toEqual([size, size, size]);
      const shared = openSecret(await port.agree(ours, theirs.publicKey));
      expect(shared.length).toBe(size);
      expect(openSecret(await other.agree(theirs, ours.publicKey))).toEqual(shared);
    }
  });

  it('knows the answer of RFC 5903, section 8.1', async () => {
    const initiator: AgreementKey = {
      publicKey: {
        curve: 'P-256',
        x: fromHex('dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180'),
        y: fromHex('5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3'),
      },
      scalar: Secret.take(fromHex('c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433')),
    };
    const responder = {
      curve: 'P-256',
      x: fromHex('d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63'),
      y: fromHex('56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab'),
    } as const;
    expect(toHex(openSecret(await port.agree(initiator, responder)))).toBe(
      'd6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de',
    );
  });

  it.each(curves)('takes no point that is off %s', async (curve) => {
    const own = await port.generateAgreementKey(curve);
    const stranger = await port.generateAgreementKey(curve === 'P-256' ? 'P-521' : 'P-256');
    const { x, y } = own.publicKey;
    expect(await port.isOnCurve(own.publicKey)).toBe(true);
    for (const peer of [
      { curve, x, y: flipped(y, y.length - 1) },
      { curve, x: new Uint8Array(x.length), y: new Uint8Array(x.length) },
      { curve, x: new Uint8Array(x.length).fill(0xff), y },
      { curve, x: x.subarray(1), y },
      { curve, x: new Uint8Array(), y: new Uint8Array() },
      stranger.publicKey,
    ]) {
      expect(await port.isOnCurve({ ...peer, curve })).toBe(false);
      await expect(port.agree(own, peer)).rejects.toBeInstanceOf(InvalidArgumentError);
      await expect(port.agree(own, peer)).rejects.toThrow(`is not a point on ${curve}`);
    }
  });
});

describe.each(ports)('key wrap of %s', (_name, port, other) => {
  it('is undone by the other, and by nothing else', async () => {
    const property = fc.asyncProperty(key32, key32, async (key, content) => {
      const wrapped = await port.aes256Wrap(Secret.copyOf(key), Secret.copyOf(content));
      expect(wrapped.length).toBe(40);
      expect(openSecret((await other.aes256Unwrap(key, wrapped))!)).toEqual(content);
      expect(await other.aes256Unwrap(flipped(key, 0), wrapped)).toBeUndefined();
      expect(await other.aes256Unwrap(key, flipped(wrapped, 39))).toBeUndefined();
      expect(await other.aes256Unwrap(key, wrapped.subarray(8))).toBeUndefined();
      expect(await other.aes256Unwrap(key, new Uint8Array())).toBeUndefined();
    });
    await fc.assert(property, { numRuns: 15 });
  });

  it('knows the answer of RFC 3394, section 4.6', async () => {
    const key = fromHex('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f');
    const content = fromHex('00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f');
    expect(toHex(await port.aes256Wrap(key, content))).toBe(
      '28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21',
    );
  });
});

describe.each(ports)('RSA-OAEP of %s', (_name, port, other) => {
  it('is undone by the other, and by no other key', async () => {
    const key = await port.generateRsaKey();
    const stranger = await other.generateRsaKey();
    expect([key.publicKey.modulus.length, toHex(key.publicKey.exponent)]).toEqual([256, '010001']);
    const content = new Uint8Array(32).fill(7);
    const encrypted = await port.rsaOaepEncrypt(key.publicKey, Secret.copyOf(content));
    expect(encrypted.length).toBe(256);
    expect(openSecret((await other.rsaOaepDecrypt(key, encrypted))!)).toEqual(content);
    expect(await port.rsaOaepDecrypt(stranger, encrypted)).toBeUndefined();
    expect(await port.rsaOaepDecrypt(key, flipped(encrypted, 255))).toBeUndefined();
    expect(await port.rsaOaepDecrypt(key, encrypted.subarray(1))).toBeUndefined();
  });

  it('takes no key that nobody can have', async () => {
    const impossible = { modulus: new Uint8Array(1), exponent: Uint8Array.of(1, 0, 1) };
    await expect(port.rsaOaepEncrypt(impossible, new Uint8Array(32))).rejects.toBeInstanceOf(
      InvalidArgumentError,
    );
  });
});

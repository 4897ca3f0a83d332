import { createHash, createHmac } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { concat, fromHex, toHex } from '../bytes.js';
import { InvalidArgumentError } from '../errors.js';
import { openSecret, Secret } from '../secret.js';
import { type CaKey, generateCaKey, signAsCa } from '../testing/development-platform.js';
import * as node from './node.js';
import type { CryptoPort, HashName, P384PrivateKey, P384PublicKey } from './types.js';
import * as web from './web.js';

const ports: [string, CryptoPort, CryptoPort][] = [
  ['node', node, web],
  ['web', web, node],
];
const hashes: HashName[] = ['sha256', 'sha384'];
const anyBytes = fc.uint8Array({ maxLength: 300 });
const sixteen = fc.uint8Array({ minLength: 16, maxLength: 16 });
const runs = { numRuns: 25 };

let rsa: CaKey;
let key: P384PrivateKey;
beforeAll(async () => {
  rsa = generateCaKey(2048);
  key = await node.generateP384();
});

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = new Uint8Array(bytes);
  copy[at]! ^= 1;
  return copy;
}

describe('node:crypto and WebCrypto give the same', () => {
  test.each(hashes)('%s', async (hash) => {
    const property = fc.asyncProperty(fc.array(anyBytes, { maxLength: 4 }), async (parts) => {
      const expected = createHash(hash)
        .update(concat(...parts))
        .digest('hex');
      expect(toHex(await node.digest(hash, ...parts))).toBe(expected);
      expect(toHex(await web.digest(hash, ...parts))).toBe(expected);
    });
    await fc.assert(property, runs);
  });

  test.each(hashes)('%s of many blocks, in a chain and step by step', async (hash) => {
    const many = Array.from({ length: 150 }, (_, i) => new Uint8Array(24).fill(i));
    const blocks = concat(...many);
    const once = (...parts: Uint8Array[]) =>
      new Uint8Array(
        createHash(hash)
          .update(concat(...parts))
          .digest(),
      );
    const start = once(blocks);
    const chained = many.reduce((state, link) => once(state, link), start);
    for (const [, port] of ports) {
      expect(await port.digestBlocks(hash, blocks, 24)).toEqual(concat(...many.map((each) => once(each))));
      expect(await port.digestBlocks(hash, new Uint8Array(), 24)).toEqual(new Uint8Array());
      expect(await port.digestChain(hash, start, blocks, 24)).toEqual(chained);
      expect(await port.digestChain(hash, start, new Uint8Array(), 24)).toEqual(start);
      const running = port.startDigest(hash);
      running.update(many[1]!);
      const branch = running.copy();
      running.update(many[2]!);
      branch.update(many[3]!);
      expect(await running.copy().digest()).toEqual(once(many[1]!, many[2]!));
      expect(await branch.digest()).toEqual(once(many[1]!, many[3]!));
      running.update(many[4]!);
      expect(await running.digest()).toEqual(once(many[1]!, many[2]!, many[4]!));
    }
  });

  test('HMAC, with a secret or with bytes as key', async () => {
    const property = fc.asyncProperty(sixteen, fc.array(anyBytes, { maxLength: 4 }), async (bytes, parts) => {
      const expected = createHmac('sha256', bytes)
        .update(concat(...parts))
        .digest('hex');
      for (const [, port] of ports) {
        expect(toHex(await port.hmacSha256(bytes, ...parts))).toBe(expected);
        expect(toHex(await port.hmacSha256(Secret.copyOf(bytes), ...parts))).toBe(expected);
      }
    });
    await fc.assert(property, runs);
  });

  test('HMAC with SHA-384', async () => {
    const property = fc.asyncProperty(sixteen, fc.array(anyBytes, { maxLength: 3 }), async (bytes, parts) => {
      const expected = createHmac('sha384', bytes)
        .update(concat(...parts))
        .digest('hex');
      for (const [, port] of ports) {
        expect(toHex(await port.hmacSha384(Secret.copyOf(bytes), ...parts))).toBe(expected);
      }
    });
    await fc.assert(property, runs);
  });

  test('AES-GCM, each opens what the other sealed, and nothing that was changed', async () => {
    const key32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
    const twelve = fc.uint8Array({ minLength: 12, maxLength: 12 });
    const property = fc.asyncProperty(key32, twelve, anyBytes, anyBytes, async (bytes, iv, aad, data) => {
      for (const [, port, other] of ports) {
        const { ciphertext, tag } = await port.aes256GcmSeal(Secret.copyOf(bytes), iv, aad, data);
        expect([ciphertext.length, tag.length]).toEqual([data.length, 16]);
        expect(await other.aes256GcmOpen(bytes, iv, aad, ciphertext, tag)).toEqual(data);
        expect(await other.aes256GcmOpen(bytes, iv, aad, ciphertext, flipped(tag, 15))).toBeUndefined();
        expect(await other.aes256GcmOpen(bytes, iv, concat(aad, iv), ciphertext, tag)).toBeUndefined();
        expect(await other.aes256GcmOpen(flipped(bytes, 31), iv, aad, ciphertext, tag)).toBeUndefined();
      }
    });
    await fc.assert(property, runs);
  });

  test('AES-CTR, counters that wrap included', async () => {
    const counter = fc.oneof(sixteen, fc.constant(new Uint8Array(16).fill(0xff)));
    const property = fc.asyncProperty(sixteen, counter, anyBytes, async (bytes, iv, data) => {
      const encrypted = await node.aes128Ctr(bytes, iv, data);
      expect(await web.aes128Ctr(Secret.copyOf(bytes), iv, data)).toEqual(encrypted);
      expect(await web.aes128Ctr(bytes, iv, encrypted)).toEqual(data);
    });
    await fc.assert(property, runs);
  });

  test('comparison in constant time', () => {
    const property = fc.property(anyBytes, anyBytes, (a, b) => {
      const expected = toHex(a) === toHex(b);
      expect([node.constantTimeEqual(a, b), web.constantTimeEqual(a, b)]).toEqual([expected, expected]);
      expect([node.constantTimeEqual(a, a.slice()), web.constantTimeEqual(a, a.slice())]).toEqual([
        true,
        true,
      ]);
    });
    fc.assert(property);
  });
});

test('known answers', async () => {
  const abc = new TextEncoder().encode('abc');
  for (const [, port] of ports) {
    expect(toHex(await port.digest('sha256', abc))).toBe(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    );
    // RFC 4231, test case 2
    const text = new TextEncoder().encode('what do ya want for nothing?');
    expect(toHex(await port.hmacSha256(new TextEncoder().encode('Jefe'), text))).toBe(
      '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    );
    // RFC 4231, test case 2
    expect(toHex(await port.hmacSha384(new TextEncoder().encode('Jefe'), text))).toBe(
      'af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649',
    );
    // The GCM specification, test case 14
    const zeros = (length: number) => new Uint8Array(length);
    const sealed = await port.aes256GcmSeal(zeros(32), zeros(12), zeros(0), zeros(16));
    expect(toHex(sealed.ciphertext)).toBe('cea7403d4d606b6e074ec5d3baf39d18');
    expect(toHex(sealed.tag)).toBe('d0d1c8a799996bf0265b98b5d48ab919');
    // NIST SP 800-38A, F.5.1
    const counter = fromHex('f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff');
    const block = fromHex('6bc1bee22e409f96e93d7e117393172a');
    expect(toHex(await port.aes128Ctr(fromHex('2b7e151628aed2a6abf7158809cf4f3c'), counter, block))).toBe(
      '874d6191b620e3261bef6864990db6ce',
    );
  }
});

describe.each(ports)('P-384 of %s', (_name, port, other) => {
  const data = Uint8Array.of(1, 2, 3);

  test('keys have 48 bytes a part, and buffers of their own', async () => {
    const made = await port.generateP384();
    expect([made.publicKey.x.length, made.publicKey.y.length, made.scalar.length]).toEqual([48, 48, 48]);
    expect(made.publicKey.x.buffer.byteLength).toBe(48);
    expect(await other.isOnP384(made.publicKey)).toBe(true);
  });

  test.each(hashes)('a signature with %s verifies with the other', async (hash) => {
    const signature = await port.signP384(key, hash, data);
    expect([signature.r.length, signature.s.length]).toEqual([48, 48]);
    expect(await other.verifyP384(key.publicKey, hash, data, signature)).toBe(true);
    expect(await other.verifyP384(key.publicKey, hash, Uint8Array.of(1, 2), signature)).toBe(false);
    expect(
      await other.verifyP384(key.publicKey, hash === 'sha256' ? 'sha384' : 'sha256', data, signature),
    ).toBe(false);
    for (const bad of [
      { r: flipped(signature.r, 47), s: signature.s },
      { r: signature.r, s: flipped(signature.s, 0) },
      { r: new Uint8Array(48), s: new Uint8Array(48) },
      { r: signature.r.subarray(1), s: signature.s },
    ]) {
      expect(await other.verifyP384(key.publicKey, hash, data, bad)).toBe(false);
    }
  });

  test('two parties agree on a secret', async () => {
    const peer = await port.generateP384();
    const ours = await port.ecdhP384(key, peer.publicKey);
    const theirs = await other.ecdhP384(peer, key.publicKey);
    expect(openSecret(ours)).toEqual(openSecret(theirs));
    expect(ours.length).toBe(48);
  });

  test('points off the curve are found out, with a typed error where a key is needed', async () => {
    const { x, y } = key.publicKey;
    const strangers: P384PublicKey[] = [
      { x, y: flipped(y, 47) },
      { x: y, y: x },
      { x: new Uint8Array(48), y: new Uint8Array(48) },
      { x: new Uint8Array(48).fill(0xff), y },
      { x: new Uint8Array(), y: new Uint8Array() },
    ];
    const signature = await node.signP384(key, 'sha256', data);
    for (const stranger of strangers) {
      expect(await port.isOnP384(stranger)).toBe(false);
      expect(await port.verifyP384(stranger, 'sha256', data, signature)).toBe(false);
      await expect(port.ecdhP384(key, stranger)).rejects.toThrow(InvalidArgumentError);
    }
  });

  test('a key that was changed in place is another key', async () => {
    const changing = { x: key.publicKey.x.slice(), y: key.publicKey.y.slice() };
    const signature = await node.signP384(key, 'sha256', data);
    expect(await port.verifyP384(changing, 'sha256', data, signature)).toBe(true);
    changing.x[0]! ^= 1;
    expect(await port.verifyP384(changing, 'sha256', data, signature)).toBe(false);
    expect(await port.isOnP384(changing)).toBe(false);
  });
});

describe.each(ports)('RSA-PSS of %s', (_name, port) => {
  const data = Uint8Array.of(1, 2, 3);
  const publicKey = () => ({ modulus: rsa.modulus, exponent: rsa.exponent });

  test('accepts a signature, with or without leading zeros in the key', async () => {
    const signature = signAsCa(rsa, data);
    expect(await port.verifyRsaPss(publicKey(), 'sha256', data, signature)).toBe(true);
    const padded = { modulus: rsa.modulus, exponent: concat(new Uint8Array(253), rsa.exponent) };
    expect(await port.verifyRsaPss(padded, 'sha256', data, signature)).toBe(true);
  });

  test('refuses what is changed, cut, or of another hash', async () => {
    const signature = signAsCa(rsa, data);
    expect(await port.verifyRsaPss(publicKey(), 'sha256', data, flipped(signature, 9))).toBe(false);
    expect(await port.verifyRsaPss(publicKey(), 'sha256', data, signature.subarray(1))).toBe(false);
    expect(await port.verifyRsaPss(publicKey(), 'sha256', data, new Uint8Array(256))).toBe(false);
    expect(await port.verifyRsaPss(publicKey(), 'sha256', flipped(data, 0), signature)).toBe(false);
    expect(await port.verifyRsaPss(publicKey(), 'sha384', data, signature)).toBe(false);
  });

  test.each<[string, Uint8Array, Uint8Array]>([
    ['zero', new Uint8Array(256), new Uint8Array(1)],
    ['nothing', new Uint8Array(), new Uint8Array()],
    ['even', new Uint8Array(256).fill(0xfe), Uint8Array.of(1, 0, 1)],
    ['exponent zero', new Uint8Array(256).fill(0xff), new Uint8Array(3)],
  ])('a modulus that no one can have made (%s) verifies nothing', async (_what, modulus, exponent) => {
    expect(await port.verifyRsaPss({ modulus, exponent }, 'sha256', data, new Uint8Array(256).fill(1))).toBe(
      false,
    );
  });
});

test.each(ports)('random bytes of %s come in any number', (_name, port) => {
  expect(port.systemRandom(0).length).toBe(0);
  const many = port.systemRandom(200_000);
  expect(many.length).toBe(200_000);
  expect(many.subarray(-16).some((byte) => byte !== 0)).toBe(true);
  expect(toHex(port.systemRandom(16))).not.toBe(toHex(port.systemRandom(16)));
});

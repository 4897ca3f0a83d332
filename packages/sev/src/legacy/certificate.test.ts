import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { concat, equalBytes, toHex } from '../bytes.js';
import { digest, generateP384, type P384PrivateKey } from '../crypto/index.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { generateCaKey } from '../testing/development-platform.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import {
  buildSevCertificate,
  ecdsaSignature,
  hashOf,
  keyAlgorithms,
  keyUsages,
  p384KeyOf,
  parseSevCertificate,
  rsaPublicKey,
  sevCertificate,
  signatureSlot,
  signedBytes,
  withoutSignatures,
} from './certificate.js';
import { addSignature, isSignedBy, rsaSignatureField, signSevCertificate } from './certificate-signature.js';

let key: P384PrivateKey;
let pdh: Uint8Array;

beforeAll(async () => {
  key = await generateP384();
  const fields = { apiMajor: 0, apiMinor: 24, publicKey: key.publicKey };
  pdh = buildSevCertificate({ ...fields, usage: 'PDH', algorithm: 'ECDH-SHA256' });
});

function patched(bytes: Uint8Array, offset: number, ...values: number[]): Uint8Array {
  const copy = bytes.slice();
  copy.set(values, offset);
  return copy;
}

function refusal(bytes: Uint8Array, location?: { offset: number; path?: string }): MalformedError {
  try {
    parseSevCertificate(bytes, location);
  } catch (error) {
    if (error instanceof MalformedError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

describe('building and reading', () => {
  test('a new certificate has the layout of the specification', () => {
    expect(pdh.length).toBe(0x824);
    expect([...pdh.subarray(0, 0x14)]).toEqual([
      1, 0, 0, 0, 0, 24, 0, 0, 3, 0x10, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0,
    ]);
    expect(pdh.subarray(0x14, 0x14 + 48)).toEqual(key.publicKey.x.slice().reverse());
    expect(pdh.subarray(0x5c, 0x5c + 48)).toEqual(key.publicKey.y.slice().reverse());
    expect([...pdh.subarray(0x414, 0x41c)]).toEqual([0, 0x10, 0, 0, 0, 0, 0, 0]);
    expect([...pdh.subarray(0x61c, 0x624)]).toEqual([0, 0x10, 0, 0, 0, 0, 0, 0]);
  });

  test('reading gives back what was built', () => {
    const usages = Object.keys(keyUsages).filter((name) => name !== 'INVALID') as (keyof typeof keyUsages)[];
    const coordinate = fc.uint8Array({ minLength: 48, maxLength: 48 });
    const byte = fc.nat(255);
    const property = fc.property(
      fc.constantFrom(...usages),
      fc.constantFrom('ECDSA-SHA256', 'ECDH-SHA256', 'ECDSA-SHA384', 'ECDH-SHA384'),
      byte,
      byte,
      coordinate,
      coordinate,
      (usage, algorithm, apiMajor, apiMinor, x, y) => {
        const bytes = buildSevCertificate({ usage, algorithm, apiMajor, apiMinor, publicKey: { x, y } });
        const { signatures, raw, ...fields } = parseSevCertificate(bytes);
        expect(fields).toEqual({ usage, algorithm, apiMajor, apiMinor, publicKey: { x, y } });
        expect(signatures.map(({ kind }) => kind)).toEqual(['empty', 'empty']);
        expect(raw).toEqual(bytes);
        expect(signedBytes({ raw })).toEqual(bytes.subarray(0, 0x414));
      },
    );
    fc.assert(property, { numRuns: 50 });
  });

  test('the raw bytes are a copy', () => {
    const input = pdh.slice();
    const { raw } = parseSevCertificate(input);
    input.fill(0);
    expect(raw).toEqual(pdh);
  });

  test('an RSA key is read with its own size', () => {
    const rsa = generateCaKey(2048);
    const field = {
      modulusBits: 2048,
      modulus: concat(new Uint8Array(256), rsa.modulus),
      exponent: concat(new Uint8Array(509), rsa.exponent),
    };
    const fields = { ...sevCertificate.parse(pdh), algorithm: 'RSA-SHA256', usage: 'CEK' } as const;
    const bytes = sevCertificate.build({ ...fields, publicKey: rsaPublicKey.build(field) });
    const parsed = parseSevCertificate(bytes);
    expect(parsed.publicKey).toMatchObject({ modulus: rsa.modulus });
    expect(() => p384KeyOf(parsed)).toThrow(InvalidArgumentError);
    expect(refusal(patched(bytes, 0x10, 0, 4))).toMatchObject({ field: 'modulusBits', offset: 0x10 });
    expect(refusal(patched(bytes, 0x214 + 256, 1))).toMatchObject({ field: 'modulus', offset: 0x214 });
  });
});

describe('strict reading', () => {
  const slot1 = 0x414;
  const slot2 = 0x61c;
  const ecdsa = [2, 0x10, 0, 0, 2, 0, 0, 0];
  const zeros = (length: number) => Array<number>(length).fill(0);

  test.each<[string, number, number[], string, number?]>([
    ['version 2', 0x000, [2], 'version'],
    ['reserved bytes', 0x006, [1], 'reserved'],
    ['unknown usage', 0x008, [5, 0x10], 'usage'],
    ['usage INVALID', 0x008, [0, 0x10], 'usage'],
    ['unknown algorithm', 0x00c, [4], 'algorithm'],
    ['algorithm INVALID', 0x00c, [0], 'algorithm'],
    ['curve P-256', 0x010, [1], 'curve'],
    ['padding of x', 0x014 + 48, [1], 'x'],
    ['padding of y', 0x05c + 48, [1], 'y'],
    ['padding of the key', 0x0a4, [1], 'padding'],
    ['last byte of the key', 0x413, [1], 'padding'],
    ['unknown usage in a slot', slot1, [5, 0x10], 'usage'],
    ['unknown algorithm in a slot', slot2 + 4, [4], 'algorithm'],
    ['slot with a usage only', slot1, [2, 0x10], 'algorithm', slot1 + 4],
    ['slot with an algorithm only', slot2 + 4, [2], 'usage', slot2],
    ['slot signed by a key that cannot sign', slot1, [3, 0x10, 0, 0, 3], 'algorithm', slot1 + 4],
    ['bytes in an empty slot', 0x823, [1], 'value', slot2 + 8],
    ['padding of r', slot1, [...ecdsa, ...zeros(48), 1], 'r', slot1 + 8 + 48],
    ['padding of s', slot1, [...ecdsa, ...zeros(72 + 48), 1], 's', slot1 + 8 + 72 + 48],
    ['padding behind s', slot2, [...ecdsa, ...zeros(0x90), 1], 'padding', slot2 + 8 + 0x90],
  ])('%s is refused', (_what, offset, values, field, expectedOffset = offset) => {
    expect(refusal(patched(pdh, offset, ...values))).toMatchObject({
      code: 'malformed',
      field,
      offset: expectedOffset,
    });
  });

  test('offsets and names count from the whole input', () => {
    const location = { offset: 1000, path: 'export, PDH certificate' };
    expect(refusal(patched(pdh, 0x008, 0xff), location)).toMatchObject({ offset: 1008, field: 'usage' });
    const error = refusal(patched(pdh, slot2 + 4, 2), location);
    expect(error).toMatchObject({ offset: 1000 + slot2, structure: 'export, PDH certificate, signature2' });
    expect(error.message).toContain('at offset 0xa04');
  });

  test.each([0, 1, 0x823, 0x825])('%i bytes are refused', (length) => {
    const bytes = new Uint8Array(length);
    bytes.set(pdh.subarray(0, length));
    expect(refusal(bytes)).toMatchObject({ field: 'length', expected: '2084 bytes' });
  });
});

describe('signing', () => {
  test('fills the first empty slot, then the second, then refuses', async () => {
    const oca = { usage: 'OCA', algorithm: 'ECDSA-SHA256', key } as const;
    const cek = { usage: 'CEK', algorithm: 'ECDSA-SHA384', key } as const;
    const once = await signSevCertificate(pdh, oca);
    const twice = await signSevCertificate(once, cek);
    const { signatures } = parseSevCertificate(twice);
    expect(signatures.map(({ usage }) => usage)).toEqual(['OCA', 'CEK']);
    await expect(signSevCertificate(twice, oca)).rejects.toThrow(InvalidArgumentError);
    expect(withoutSignatures(twice)).toEqual(pdh);
    expect(equalBytes(once.subarray(0, 0x414), pdh.subarray(0, 0x414))).toBe(true);
  });

  test.each(['ECDSA-SHA256', 'ECDSA-SHA384'] as const)(
    'a signature with %s verifies in either slot',
    async (algorithm) => {
      const fields = {
        apiMajor: 0,
        apiMinor: 24,
        usage: 'PEK',
        algorithm,
        publicKey: key.publicKey,
      } as const;
      const signer = parseSevCertificate(buildSevCertificate(fields));
      const good = await signSevCertificate(pdh, { usage: 'PEK', algorithm, key });
      expect(await isSignedBy(parseSevCertificate(good), signer)).toBe(true);
      const slots = sevCertificate.parse(good);
      const moved = sevCertificate.build({
        ...slots,
        signature1: slots.signature2,
        signature2: slots.signature1,
      });
      expect(await isSignedBy(parseSevCertificate(moved), signer)).toBe(true);
      const other = algorithm === 'ECDSA-SHA256' ? 'ECDSA-SHA384' : 'ECDSA-SHA256';
      expect(await isSignedBy(parseSevCertificate(good), { ...signer, algorithm: other })).toBe(false);
      expect(await isSignedBy(parseSevCertificate(good), { ...signer, usage: 'OCA' })).toBe(false);
      expect(await isSignedBy(parseSevCertificate(patched(good, 5, 23)), signer)).toBe(false);
      expect(await isSignedBy(parseSevCertificate(pdh), signer)).toBe(false);
    },
  );

  test('a field that is no signature is refused', () => {
    const signer = { usage: 'PEK', algorithm: 'ECDSA-SHA256' } as const;
    expect(() => addSignature(pdh, signer, new Uint8Array(511))).toThrow(InvalidArgumentError);
    expect(() => addSignature(pdh, signer, new Uint8Array(512).fill(1))).toThrow(MalformedError);
    expect(() => addSignature(pdh, { usage: 'PDH', algorithm: 'ECDH-SHA256' }, new Uint8Array(512))).toThrow(
      MalformedError,
    );
    expect(() => rsaSignatureField(new Uint8Array(513))).toThrow(InvalidArgumentError);
  });

  test('an RSA signature stands least significant byte first', () => {
    const field = rsaSignatureField(Uint8Array.of(1, 2, 3));
    expect([...field.subarray(0, 4)]).toEqual([3, 2, 1, 0]);
    expect(field.length).toBe(512);
  });
});

test('every algorithm but INVALID has a digest', () => {
  const names = Object.keys(keyAlgorithms).filter(
    (name) => name !== 'INVALID',
  ) as (keyof typeof keyAlgorithms)[];
  for (const name of names) expect(hashOf(name)).toBe(name.endsWith('384') ? 'sha384' : 'sha256');
  expect(() => hashOf('INVALID')).toThrow(InvalidArgumentError);
});

test('structures cover the sizes of the specification', () => {
  expect([sevCertificate.size, signatureSlot.size, ecdsaSignature.size, rsaPublicKey.size]).toEqual([
    0x824, 0x208, 0x200, 0x404,
  ]);
});

interface NaplesCertificate {
  readonly api: readonly [number, number];
  readonly usage: string;
  readonly algo: string;
  readonly x: string;
  readonly y: string;
  readonly body_sha256: string;
  readonly signature_slots: readonly { readonly usage: string; readonly algo: string }[];
}

describeWithVectors('the certificates of a real Naples platform', () => {
  test.each(['cek', 'oca', 'pek', 'pdh'])('%s has the fields of expected.json', async (name) => {
    const { certificates } = jsonVector<{ certificates: Record<string, NaplesCertificate> }>(
      'sev/naples/expected.json',
    );
    const expected = certificates[name]!;
    const certificate = parseSevCertificate(vectors(`sev/naples/${name}.cert`));
    const hex = (value: number) => `0x${value.toString(16)}`;
    const point = p384KeyOf(certificate);
    expect({
      api: [certificate.apiMajor, certificate.apiMinor],
      usage: hex(keyUsages[certificate.usage]),
      algo: hex(keyAlgorithms[certificate.algorithm]),
      curve: 2,
      x: toHex(point.x),
      y: toHex(point.y),
      body_sha256: toHex(await digest('sha256', signedBytes(certificate))),
      signature_slots: certificate.signatures.map(({ usage, algorithm }) => ({
        usage: hex(keyUsages[usage]),
        algo: hex(keyAlgorithms[algorithm]),
      })),
    }).toEqual(expected);
  });
});

import { beforeAll, describe, expect, test } from 'vitest';
import { concat, fromHex, toHex } from '../bytes.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { type CaKey, generateCaKey, makeCaCertificate, signAsCa } from '../testing/development-platform.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import {
  type AmdCaCertificate,
  amdCaCertificates,
  assembleAmdCaCertificate,
  bodyDigest,
  buildAmdCaBody,
  caBody,
  caHash,
  isCaSignedBy,
  parseAmdCaCertificate,
} from './ca-certificate.js';
import { keyUsages } from './certificate.js';
import {
  amdPlatformRoots,
  caIdentity,
  caName,
  developmentKeyId,
  developmentPlatformRoot,
  generations,
} from './roots.js';

let key: CaKey;
let ark: AmdCaCertificate;

beforeAll(() => {
  key = generateCaKey(2048);
  const keyId = developmentKeyId('ARK', 'naples');
  ark = makeCaCertificate({ keyId, certifyingId: keyId, usage: 'ARK', key, signer: key });
});

function refusal(bytes: Uint8Array): MalformedError {
  try {
    parseAmdCaCertificate(bytes);
  } catch (error) {
    if (error instanceof MalformedError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

function patched(offset: number, ...values: number[]): Uint8Array {
  const copy = ark.raw.slice();
  copy.set(values, offset);
  return copy;
}

describe('building and reading', () => {
  test('the two layouts have the sizes of the specification', () => {
    expect([amdCaCertificates[2048].size, amdCaCertificates[4096].size]).toEqual([832, 1600]);
  });

  test('numbers stand least significant byte first', () => {
    const { raw } = ark;
    expect([...raw.subarray(0, 4)]).toEqual([1, 0, 0, 0]);
    expect(new TextDecoder().decode(raw.subarray(4, 20))).toBe('VouchsafeDev1ARK');
    expect([...raw.subarray(0x38, 0x44)]).toEqual([0, 8, 0, 0, 0, 8, 0, 0, 1, 0, 1, 0]);
    expect(raw.subarray(0x140, 0x240)).toEqual(key.modulus.slice().reverse());
    expect(raw.subarray(0x240)).toEqual(ark.signature.slice().reverse());
    expect(caBody(ark)).toEqual(raw.subarray(0, 0x240));
  });

  test('a body and its signature make the certificate again', () => {
    expect(assembleAmdCaCertificate(caBody(ark), ark.signature)).toEqual(ark.raw);
    expect(() => assembleAmdCaCertificate(new Uint8Array(10), ark.signature)).toThrow(InvalidArgumentError);
    expect(() => assembleAmdCaCertificate(caBody(ark), ark.signature.subarray(1))).toThrow(
      InvalidArgumentError,
    );
  });

  test('values that do not fit are refused', () => {
    const values = { keyId: ark.keyId, certifyingId: ark.keyId, usage: 'ARK', modulusBits: 2048 } as const;
    const numbers = { modulus: key.modulus, exponent: key.exponent };
    expect(() => buildAmdCaBody({ ...values, ...numbers, keyId: new Uint8Array(15) })).toThrow(
      InvalidArgumentError,
    );
    expect(() => buildAmdCaBody({ ...values, ...numbers, exponent: new Uint8Array(257) })).toThrow(
      InvalidArgumentError,
    );
    expect(() => buildAmdCaBody({ ...values, ...numbers, modulus: new Uint8Array(512) })).toThrow(
      InvalidArgumentError,
    );
  });

  test('a signature verifies over the body with the signer’s key only', async () => {
    expect(await isCaSignedBy(ark, ark)).toBe(true);
    const stranger = generateCaKey(2048);
    const other = makeCaCertificate({ ...ark, usage: 'ARK', key: stranger, signer: stranger });
    expect(await isCaSignedBy(ark, other)).toBe(false);
    expect(caHash(ark)).toBe('sha256');
    const resigned = assembleAmdCaCertificate(
      caBody(ark),
      signAsCa(key, concat(caBody(ark), Uint8Array.of(0))),
    );
    expect(await isCaSignedBy(parseAmdCaCertificate(resigned), ark)).toBe(false);
  });
});

describe('strict reading', () => {
  test.each<[string, number, number[]]>([
    ['version', 0x00, [2]],
    ['usage', 0x24, [1]],
    ['reserved', 0x37, [1]],
    ['exponentBits', 0x38, [0, 16]],
    ['modulusBits', 0x3c, [0, 16]],
  ])('%s is checked', (field, offset, values) => {
    expect(refusal(patched(offset, ...values))).toMatchObject({ field });
  });

  test('usages of other keys are refused', () => {
    for (const usage of ['OCA', 'PEK', 'PDH', 'CEK', 'INVALID'] as const) {
      const value = keyUsages[usage];
      expect(refusal(patched(0x24, value & 0xff, value >> 8))).toMatchObject({
        field: 'usage',
        offset: 0x24,
      });
    }
  });

  test.each([0, 831, 833, 1599, 1601])('%i bytes are refused', (length) => {
    expect(refusal(new Uint8Array(length))).toMatchObject({
      field: 'length',
      expected: '832 or 1600 bytes',
      hint: undefined,
    });
  });

  test.each([2048, 4096] as const)('%i bits without the signature are refused with a hint', (bits) => {
    const error = refusal(new Uint8Array(amdCaCertificates[bits].offsetOf('signature')));
    expect(error.found).toContain('too short by exactly the signature');
    expect(error.hint).toContain('without its signature');
  });
});

describe('roots', () => {
  test('a development root is described by its certificate', async () => {
    expect(await developmentPlatformRoot(ark.raw)).toEqual({
      name: 'Vouchsafe Development, Naples',
      kind: 'development',
      generation: 'naples',
      arkFingerprint: await bodyDigest(ark),
      arkKeyId: toHex(new TextEncoder().encode('VouchsafeDev1ARK')),
      askKeyId: toHex(new TextEncoder().encode('VouchsafeDev1ASK')),
      modulusBits: 2048,
      hash: 'sha256',
      exponent: 65537,
    });
  });

  test('a certificate that does not call itself a development ARK is none', async () => {
    const make = (keyId: Uint8Array, usage: 'ARK' | 'ASK' = 'ARK') =>
      makeCaCertificate({ keyId, certifyingId: keyId, usage, key, signer: key }).raw;
    await expect(developmentPlatformRoot(make(new Uint8Array(16)))).rejects.toThrow(InvalidArgumentError);
    const amdKeyId = fromHex(amdPlatformRoots[0]!.arkKeyId);
    await expect(developmentPlatformRoot(make(amdKeyId))).rejects.toThrow('found AMD ARK, Naples');
    await expect(developmentPlatformRoot(make(developmentKeyId('ASK', 'naples')))).rejects.toThrow(
      InvalidArgumentError,
    );
    await expect(developmentPlatformRoot(make(ark.keyId, 'ASK'))).rejects.toThrow(InvalidArgumentError);
    await expect(developmentPlatformRoot(make(developmentKeyId('ARK', 'milan')))).rejects.toThrow(
      '4096 bits, as Milan',
    );
    await expect(developmentPlatformRoot(new Uint8Array(832))).rejects.toThrow(MalformedError);
  });

  test('each development CA has a name of its own', () => {
    const ids = generations.flatMap((each) => [developmentKeyId('ARK', each), developmentKeyId('ASK', each)]);
    expect(ids.every(({ length }) => length === 16)).toBe(true);
    expect(new Set(ids.map(toHex)).size).toBe(10);
    expect(caName({ keyId: developmentKeyId('ASK', 'turin'), usage: 'ASK' })).toBe(
      'Vouchsafe Development ASK, Turin',
    );
    expect(caIdentity({ keyId: new Uint8Array(16) })).toBeUndefined();
  });

  test('AMD’s roots are one a generation', () => {
    expect(amdPlatformRoots.map(({ generation }) => generation)).toEqual(generations);
    expect(amdPlatformRoots.map(({ name }) => name)).toContain('AMD, Milan');
  });
});

interface CaExpectation {
  readonly size: number;
  readonly usage: number;
  readonly modulus_bits: number;
  readonly key_id: string;
  readonly certifying_id: string;
  readonly hash: string;
  readonly body_digest: string;
}

describeWithVectors('AMD’s CA certificates', () => {
  const names = generations.flatMap((generation) => [`${generation}/ark`, `${generation}/ask`]);

  test.each(names)('%s has the fields of expected.json, and its signature is the ARK’s', async (name) => {
    const { certificates } = jsonVector<{ certificates: Record<string, CaExpectation> }>(
      'sev/ca/expected.json',
    );
    const certificate = parseAmdCaCertificate(vectors(`sev/ca/${name}.cert`));
    const root = parseAmdCaCertificate(vectors(`sev/ca/${name.split('/')[0]}/ark.cert`));
    expect({
      size: certificate.raw.length,
      version: 1,
      usage: keyUsages[certificate.usage],
      modulus_bits: certificate.modulusBits,
      key_id: toHex(certificate.keyId),
      certifying_id: toHex(certificate.certifyingId),
      hash: caHash(certificate),
      body_digest: await bodyDigest(certificate),
    }).toEqual(certificates[name]);
    expect(Number(`0x${toHex(certificate.publicKey.exponent)}`)).toBe(65537);
    expect(await isCaSignedBy(certificate, root)).toBe(true);
  });

  test.each(generations)('%s is pinned', async (generation) => {
    const root = amdPlatformRoots.find((each) => each.generation === generation);
    const amdArk = parseAmdCaCertificate(vectors(`sev/ca/${generation}/ark.cert`));
    const ask = parseAmdCaCertificate(vectors(`sev/ca/${generation}/ask.cert`));
    expect(root).toMatchObject({
      arkFingerprint: await bodyDigest(amdArk),
      arkKeyId: toHex(amdArk.keyId),
      askKeyId: toHex(ask.keyId),
      modulusBits: amdArk.modulusBits,
      hash: caHash(amdArk),
    });
  });

  test('the Naples ARK as AMD published it lacks its signature', () => {
    const published = vectors('sev/naples/ark.cert.bad');
    const error = refusal(published);
    expect(error.found).toBe('576 bytes, too short by exactly the signature');
    expect(error.hint).toContain('AMD published the Naples ARK without its signature');
    const whole = concat(published, vectors('sev/naples/ark.cert.sig'));
    expect(whole).toEqual(vectors('sev/ca/naples/ark.cert'));
  });
});

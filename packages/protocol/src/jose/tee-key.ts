import { digest, InvalidArgumentError } from '@vouchsafe/sev';
import { z } from 'zod';
import { canonicalJson } from '../json/canonical-json.js';
import { message } from '../message.js';
import { base64UrlText, fromBase64Url, toBase64Url } from './base64url.js';

/**
 * The public key that a guest makes for one attestation, and that its report vouches for: secrets are encrypted to it.
 * A JSON Web Key (RFC 7517) with the members below; a broker passes over any other, and they take no part in the digest.
 */

const keyAgreement = 'ECDH-ES+A256KW';
const keyEncryption = 'RSA-OAEP-256';

const curveSizes = { 'P-256': 32, 'P-521': 66 } as const;
export type TeeKeyCurve = keyof typeof curveSizes;

const ellipticKey = <C extends TeeKeyCurve>(curve: C) =>
  z.object({
    kty: z.literal('EC'),
    crv: z.literal(curve),
    alg: z.literal(keyAgreement, { error: `expected ${keyAgreement}` }),
    /** Coordinates, big-endian, as long as the curve's field: 32 or 66 bytes. */
    x: base64UrlText(curveSizes[curve]),
    y: base64UrlText(curveSizes[curve]),
  });

const ellipticKeys = z.discriminatedUnion('crv', [ellipticKey('P-256'), ellipticKey('P-521')], {
  error: 'expected P-256 or P-521',
});

/** 2048 to 4096 bits: below that a key is weak, above it only slow. */
const modulusText = base64UrlText(256, 512).refine(
  (text) => {
    const modulus = bytesOrNothing(text);
    return modulus !== undefined && modulus[0]! >= 0x80 && (modulus.at(-1)! & 1) === 1;
  },
  { error: 'expected an odd modulus of a whole number of bytes, big-endian without leading zeros' },
);
const exponentText = base64UrlText(1, 4).refine(
  (text) => {
    const exponent = bytesOrNothing(text);
    if (exponent === undefined || exponent[0] === 0) return false;
    return (exponent.at(-1)! & 1) === 1 && (exponent.length > 1 || exponent[0]! > 1);
  },
  { error: 'expected an odd exponent above 1, big-endian without leading zeros' },
);

const rsaKey = z.object({
  kty: z.literal('RSA'),
  /** Not RSA1_5, whose decryption in the guest is open to padding oracles. */
  alg: z.literal(keyEncryption, { error: `expected ${keyEncryption}` }),
  n: modulusText,
  e: exponentText,
});

export const teeKeySchema = z.discriminatedUnion('kty', [ellipticKeys, rsaKey], {
  error: 'expected a key of the kind EC or RSA',
});

/** Reads a guest's public key. Points that are off their curve are found when the key is first used. */
export const teeKey = message('guest key', teeKeySchema);
export type TeeKey = ReturnType<typeof teeKey.parse>;

/** Kinds of guest key, as the attestation agent's configuration names them. */
export const teeKeyKinds = ['ECDH-ES+A256KW-P256', 'ECDH-ES+A256KW-P521', 'RSA-OAEP-256'] as const;
export type TeeKeyKind = (typeof teeKeyKinds)[number];

/** A key inside the platform's cryptography: WebCrypto's `CryptoKey`, for packages without the DOM's types. */
export interface PlatformKey {
  readonly algorithm: { readonly name: string };
  readonly extractable: boolean;
  readonly type: 'private' | 'public' | 'secret';
  readonly usages: KeyUsages;
}
type KeyUsages = (
  | 'encrypt'
  | 'decrypt'
  | 'sign'
  | 'verify'
  | 'deriveKey'
  | 'deriveBits'
  | 'wrapKey'
  | 'unwrapKey'
)[];

/** A guest's key with its private half, which cannot be exported. */
export interface TeeKeyPair {
  readonly publicKey: TeeKey;
  readonly privateKey: PlatformKey;
}

const { subtle } = globalThis.crypto;
const rsaAlgorithm = { name: 'RSA-OAEP', hash: 'SHA-256' } as const;

/** A new key. */
export async function generateTeeKey(kind: TeeKeyKind = 'ECDH-ES+A256KW-P256'): Promise<TeeKeyPair> {
  if (kind === 'RSA-OAEP-256') {
    const parameters = { ...rsaAlgorithm, modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1) };
    const pair = await subtle.generateKey(parameters, false, ['encrypt', 'decrypt']);
    const { n, e } = await subtle.exportKey('jwk', pair.publicKey);
    const publicKey = teeKey.parse({ kty: 'RSA', alg: keyEncryption, n, e });
    return { publicKey, privateKey: pair.privateKey };
  }
  const crv = kind === 'ECDH-ES+A256KW-P521' ? 'P-521' : 'P-256';
  const pair = await subtle.generateKey({ name: 'ECDH', namedCurve: crv }, false, ['deriveBits']);
  const { x, y } = await subtle.exportKey('jwk', pair.publicKey);
  const publicKey = teeKey.parse({ kty: 'EC', crv, alg: keyAgreement, x, y });
  return { publicKey, privateKey: pair.privateKey };
}

/**
 * The key as WebCrypto uses it.
 * @throws InvalidArgumentError for a point that is off its curve, and for a modulus that no key has
 */
export async function importTeeKey(key: TeeKey): Promise<PlatformKey> {
  try {
    if (key.kty === 'RSA') {
      const { kty, n, e } = key;
      return await subtle.importKey('jwk', { kty, n, e }, rsaAlgorithm, false, ['encrypt']);
    }
    const { kty, crv, x, y } = key;
    return await subtle.importKey('jwk', { kty, crv, x, y }, { name: 'ECDH', namedCurve: crv }, false, []);
  } catch (cause) {
    const expected = key.kty === 'EC' ? `a point on ${key.crv}` : 'an RSA key';
    throw new InvalidArgumentError('guest key', `expected ${expected}`, { cause });
  }
}

/** SHA-256 thumbprint of the key (RFC 7638), base64url: 43 characters. One key has one, whatever else its JWK says. */
export async function teeKeyThumbprint(key: TeeKey): Promise<string> {
  const required =
    key.kty === 'RSA'
      ? { kty: key.kty, n: key.n, e: key.e }
      : { kty: key.kty, crv: key.crv, x: key.x, y: key.y };
  return toBase64Url(await digest('sha256', new TextEncoder().encode(canonicalJson(required))));
}

function bytesOrNothing(text: string): Uint8Array | undefined {
  try {
    return fromBase64Url(text);
  } catch {
    return undefined;
  }
}

import {
  type AgreementCurve,
  type AgreementKey,
  type AgreementPublicKey,
  agreementSizes,
  digest,
  generateAgreementKey,
  generateRsaKey,
  InvalidArgumentError,
  isOnCurve,
  type Secret,
} from '@vouchsafe/sev';
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

const ellipticKey = <C extends AgreementCurve>(curve: C) =>
  z.object({
    kty: z.literal('EC'),
    crv: z.literal(curve),
    alg: z.literal(keyAgreement, { error: `expected ${keyAgreement}` }),
    /** Coordinates, big-endian, as long as the curve's field: 32 or 66 bytes. */
    x: base64UrlText(agreementSizes[curve]),
    y: base64UrlText(agreementSizes[curve]),
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
export type EllipticTeeKey = Extract<TeeKey, { kty: 'EC' }>;
export type RsaTeeKey = Extract<TeeKey, { kty: 'RSA' }>;

/** Kinds of guest key, as the attestation agent's configuration names them. */
export const teeKeyKinds = ['ECDH-ES+A256KW-P256', 'ECDH-ES+A256KW-P521', 'RSA-OAEP-256'] as const;
export type TeeKeyKind = (typeof teeKeyKinds)[number];

/** A guest's key with its private half. */
export interface TeeKeyPair {
  readonly publicKey: TeeKey;
  /** EC: the scalar, big-endian, 32 or 66 bytes. RSA: PKCS #8 in DER. */
  readonly privateKey: Secret;
}

/** A new key. */
export async function generateTeeKey(kind: TeeKeyKind = 'ECDH-ES+A256KW-P256'): Promise<TeeKeyPair> {
  if (kind === 'RSA-OAEP-256') {
    const { publicKey, privateKey } = await generateRsaKey();
    const [n, e] = [toBase64Url(publicKey.modulus), toBase64Url(publicKey.exponent)];
    return { publicKey: { kty: 'RSA', alg: keyEncryption, n, e }, privateKey };
  }
  const curve = kind === 'ECDH-ES+A256KW-P521' ? 'P-521' : 'P-256';
  return teeKeyPairOf(await generateAgreementKey(curve));
}

/** A key for agreement as a guest key. */
export function teeKeyPairOf({ publicKey: { curve, x, y }, scalar }: AgreementKey): TeeKeyPair {
  const point = { x: toBase64Url(x), y: toBase64Url(y) };
  return { publicKey: { kty: 'EC', crv: curve, alg: keyAgreement, ...point }, privateKey: scalar };
}

/** The point of a key, to agree with. */
export function agreementKeyOf({ crv, x, y }: Pick<EllipticTeeKey, 'crv' | 'x' | 'y'>): AgreementPublicKey {
  return { curve: crv, x: fromBase64Url(x), y: fromBase64Url(y) };
}

/**
 * Refuses a key that nothing could be sealed to. (An RSA key that can be read is one.)
 * @throws InvalidArgumentError for a point that is off its curve
 */
export async function requireUsableTeeKey(key: TeeKey): Promise<void> {
  if (key.kty === 'EC' && !(await isOnCurve(agreementKeyOf(key))))
    throw new InvalidArgumentError('guest key', `expected a point on ${key.crv}`);
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

import { isZero } from '../bytes.js';
import type { Location } from '../codec/field.js';
import { bigInteger, bytesField, named, nested, reserved, u8, u32 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import type { EcdsaSignature, HashName, P384PublicKey, RsaPublicKey } from '../crypto/types.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';

/** What a key may be used for. In a signature slot: the usage of the signer's key. */
export const keyUsages = {
  ARK: 0x0000,
  ASK: 0x0013,
  INVALID: 0x1000,
  OCA: 0x1001,
  PEK: 0x1002,
  PDH: 0x1003,
  CEK: 0x1004,
} as const;
export type KeyUsage = keyof typeof keyUsages;

/** Kind and digest of a key. In a signature slot: of the signer's key. `RSA` is RSASSA-PSS. */
export const keyAlgorithms = {
  INVALID: 0x000,
  'RSA-SHA256': 0x001,
  'ECDSA-SHA256': 0x002,
  'ECDH-SHA256': 0x003,
  'RSA-SHA384': 0x101,
  'ECDSA-SHA384': 0x102,
  'ECDH-SHA384': 0x103,
} as const;
export type KeyAlgorithm = keyof typeof keyAlgorithms;

const chapter = 'SEV API 0.24, appendix C';

/** The public key field of an ECDSA or ECDH key. Coordinates are 48 bytes, big-endian once parsed. */
export const ecPublicKey = structure(
  { name: 'EC public key', size: 0x404, source: `${chapter}, ECC public key` },
  {
    curve: u32(0x000, 'curve: 2 is P-384', { equals: 2 }),
    x: bigInteger(0x004, 72, 48, 'x coordinate'),
    y: bigInteger(0x04c, 72, 48, 'y coordinate'),
    padding: reserved(0x094, 880),
  },
);

/** The public key field of an RSA key. */
export const rsaPublicKey = structure(
  { name: 'RSA public key', size: 0x404, source: `${chapter}, RSA public key` },
  {
    modulusBits: u32(0x000, 'size of the modulus', { unit: 'bits' }),
    exponent: bigInteger(0x004, 512, 512, 'public exponent'),
    modulus: bigInteger(0x204, 512, 512, 'modulus'),
  },
);

/** The signature of an ECDSA signer: r and s, 48 bytes, big-endian once parsed. */
export const ecdsaSignature = structure(
  { name: 'ECDSA signature', size: 0x200, source: `${chapter}, ECDSA signature` },
  {
    r: bigInteger(0x000, 72, 48, 'r'),
    s: bigInteger(0x048, 72, 48, 's'),
    padding: reserved(0x090, 368),
  },
);

/** The signature of an RSA signer; shorter signatures stand at the least significant end. */
export const rsaSignature = structure(
  { name: 'RSA signature', size: 0x200, source: `${chapter}, RSA signature` },
  { value: bigInteger(0x000, 512, 512, 'signature') },
);

const emptySlot = { usage: 'INVALID', algorithm: 'INVALID', value: new Uint8Array(0x200) } as const;

/** One of the two signature fields of a certificate. Empty: usage INVALID, algorithm INVALID, zeros. */
export const signatureSlot = structure(
  { name: 'signature slot', size: 0x208, source: `${chapter}, SEV certificate` },
  {
    usage: named(0x000, 4, keyUsages, "usage of the signer's key", { default: emptySlot.usage }),
    algorithm: named(0x004, 4, keyAlgorithms, "algorithm of the signer's key", {
      default: emptySlot.algorithm,
    }),
    value: bytesField(0x008, 0x200, 'signature, by algorithm', { default: emptySlot.value }),
  },
);

/** The certificate of a CEK, OCA, PEK, PDH or guest owner's Diffie-Hellman key: 2084 bytes. */
export const sevCertificate = structure(
  { name: 'SEV certificate', size: 0x824, source: `${chapter}, SEV certificate` },
  {
    version: u32(0x000, 'version of this format', { equals: 1 }),
    apiMajor: u8(0x004, 'major API version of the firmware that made it'),
    apiMinor: u8(0x005, 'minor API version of the firmware that made it'),
    reserved: reserved(0x006, 2),
    usage: named(0x008, 4, keyUsages, 'what the key is for'),
    algorithm: named(0x00c, 4, keyAlgorithms, 'kind and digest of the key'),
    publicKey: bytesField(0x010, 0x404, 'public key, by algorithm'),
    signature1: nested(0x414, signatureSlot, 'first signature', { default: emptySlot }),
    signature2: nested(0x61c, signatureSlot, 'second signature', { default: emptySlot }),
  },
);

/** What stands in a signature slot. RSA signatures are 512 bytes, big-endian, with leading zeros for shorter keys. */
export type SignatureSlot =
  | { readonly kind: 'empty'; readonly usage: 'INVALID'; readonly algorithm: 'INVALID' }
  | {
      readonly kind: 'ecdsa';
      readonly usage: KeyUsage;
      readonly algorithm: KeyAlgorithm;
      readonly ecdsa: EcdsaSignature;
    }
  | {
      readonly kind: 'rsa';
      readonly usage: KeyUsage;
      readonly algorithm: KeyAlgorithm;
      readonly rsa: Uint8Array;
    };

export interface SevCertificate {
  readonly apiMajor: number;
  readonly apiMinor: number;
  readonly usage: KeyUsage;
  readonly algorithm: KeyAlgorithm;
  /** Not yet known to lie on the curve: whoever computes with it finds out, or asks `isOnP384`. */
  readonly publicKey: P384PublicKey | RsaPublicKey;
  readonly signatures: readonly [SignatureSlot, SignatureSlot];
  /** The 2084 bytes. */
  readonly raw: Uint8Array;
}

/**
 * Reads a certificate, strictly: reserved bytes and padding zero, P-384 only, each signature slot whole or empty. It
 * says nothing yet about who signed.
 * @throws MalformedError naming the field and its offset
 */
export function parseSevCertificate(bytes: Uint8Array, location: Location = { offset: 0 }): SevCertificate {
  const parsed = sevCertificate.parse(bytes, location);
  const within = (field: 'publicKey' | 'signature1' | 'signature2'): Location => ({
    offset: location.offset + sevCertificate.offsetOf(field),
    path: `${location.path ?? sevCertificate.name}, ${field}`,
  });
  const refuse = (field: 'usage' | 'algorithm', expected: string) => {
    const offset = location.offset + sevCertificate.offsetOf(field);
    throw new MalformedError({
      structure: location.path ?? sevCertificate.name,
      field,
      offset,
      expected,
      found: parsed[field],
    });
  };
  if (parsed.usage === 'INVALID') refuse('usage', 'the usage of a key');
  if (parsed.algorithm === 'INVALID') refuse('algorithm', 'the algorithm of a key');
  return {
    apiMajor: parsed.apiMajor,
    apiMinor: parsed.apiMinor,
    usage: parsed.usage,
    algorithm: parsed.algorithm,
    publicKey: parsePublicKey(parsed.algorithm, parsed.publicKey, within('publicKey')),
    signatures: [
      parseSlot(parsed.signature1, within('signature1')),
      parseSlot(parsed.signature2, within('signature2')),
    ],
    raw: parsed.raw,
  };
}

/** The bytes that a signature covers, whichever slot it stands in: everything before the slots, 0x414 bytes. */
export function signedBytes(certificate: Pick<SevCertificate, 'raw'>): Uint8Array {
  return certificate.raw.subarray(0, sevCertificate.offsetOf('signature1'));
}

/** The digest that an algorithm signs with. @throws InvalidArgumentError for INVALID */
export function hashOf(algorithm: KeyAlgorithm): HashName {
  if (algorithm === 'INVALID') throw new InvalidArgumentError('algorithm', 'INVALID has no digest');
  return algorithm.endsWith('SHA384') ? 'sha384' : 'sha256';
}

/** Whether a key that a certificate carries is an elliptic curve's. */
export function isP384Key(key: P384PublicKey | RsaPublicKey): key is P384PublicKey {
  return 'x' in key;
}

/**
 * The P-384 key of a certificate.
 * @throws InvalidArgumentError when the certificate holds an RSA key
 */
export function p384KeyOf(certificate: SevCertificate): P384PublicKey {
  if (isP384Key(certificate.publicKey)) return certificate.publicKey;
  throw new InvalidArgumentError(
    `${certificate.usage} certificate`,
    'expected a P-384 key, found an RSA key',
  );
}

export interface NewSevCertificate {
  readonly apiMajor: number;
  readonly apiMinor: number;
  readonly usage: KeyUsage;
  readonly algorithm: KeyAlgorithm;
  readonly publicKey: P384PublicKey;
}

/** An unsigned certificate of 2084 bytes: both slots empty. */
export function buildSevCertificate({ publicKey, ...fields }: NewSevCertificate): Uint8Array {
  return sevCertificate.build({
    ...fields,
    publicKey: ecPublicKey.build({ x: publicKey.x, y: publicKey.y, curve: 2 }),
  });
}

/** The same certificate with both slots empty, as a chip exports its CEK. @throws MalformedError */
export function withoutSignatures(certificate: Uint8Array): Uint8Array {
  const parsed = sevCertificate.parse(certificate);
  return sevCertificate.build({ ...parsed, signature1: emptySlot, signature2: emptySlot });
}

function parsePublicKey(
  algorithm: KeyAlgorithm,
  field: Uint8Array,
  location: Location,
): P384PublicKey | RsaPublicKey {
  if (!algorithm.startsWith('RSA')) {
    const { x, y } = ecPublicKey.parse(field, location);
    return { x, y };
  }
  const { modulusBits, modulus, exponent } = rsaPublicKey.parse(field, location);
  const refuse = (name: 'modulusBits' | 'modulus', expected: string, found: string) => {
    const offset = location.offset + rsaPublicKey.offsetOf(name);
    throw new MalformedError({
      structure: location.path ?? rsaPublicKey.name,
      field: name,
      offset,
      expected,
      found,
    });
  };
  if (modulusBits !== 2048 && modulusBits !== 4096)
    refuse('modulusBits', '2048 or 4096', String(modulusBits));
  const start = modulus.length - modulusBits / 8;
  if (!isZero(modulus.subarray(0, start))) refuse('modulus', `${modulusBits} bits`, 'a longer number');
  return { modulus: modulus.slice(start), exponent };
}

function parseSlot(
  slot: { readonly usage: KeyUsage; readonly algorithm: KeyAlgorithm; readonly value: Uint8Array },
  location: Location,
): SignatureSlot {
  const { usage, algorithm, value } = slot;
  const refuse = (field: 'usage' | 'algorithm' | 'value', expected: string, found: string): never => {
    const offset = location.offset + signatureSlot.offsetOf(field);
    throw new MalformedError({
      structure: location.path ?? signatureSlot.name,
      field,
      offset,
      expected,
      found,
    });
  };
  if (usage === 'INVALID' && algorithm === 'INVALID') {
    if (!isZero(value)) refuse('value', 'zero in an empty slot', 'other bytes');
    return { kind: 'empty', usage, algorithm };
  }
  if (usage === 'INVALID') refuse('usage', 'the usage of a signer, as the slot names an algorithm', usage);
  const at = {
    offset: location.offset + signatureSlot.offsetOf('value'),
    path: location.path ?? signatureSlot.name,
  };
  if (algorithm.startsWith('ECDSA')) {
    const { r, s } = ecdsaSignature.parse(value, at);
    return { kind: 'ecdsa', usage, algorithm, ecdsa: { r, s } };
  }
  if (algorithm.startsWith('RSA')) {
    return { kind: 'rsa', usage, algorithm, rsa: rsaSignature.parse(value, at).value };
  }
  return refuse('algorithm', 'an algorithm that signs, as the slot names a signer', algorithm);
}

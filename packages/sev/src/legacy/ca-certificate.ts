import { toHex } from '../bytes.js';
import type { Location } from '../codec/field.js';
import { bigInteger, bytesField, named, reserved, u32 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { digest, type HashName, type RsaPublicKey, verifyRsaPss } from '../crypto/index.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { type KeyAlgorithm, keyUsages } from './certificate.js';

/** Sizes of AMD's RSA keys: 2048 for Naples, 4096 for every later generation. */
export type ModulusBits = 2048 | 4096;

const caUsages = { ARK: keyUsages.ARK, ASK: keyUsages.ASK } as const;
export type CaUsage = keyof typeof caUsages;

/** One declaration for both sizes of key: exponent, modulus and signature are as wide as the modulus. */
function declare(modulusBits: ModulusBits) {
  const width = modulusBits / 8;
  return structure(
    {
      name: 'AMD CA certificate',
      size: 0x40 + 3 * width,
      source: 'SEV API 0.24, appendix B, AMD signing key format',
    },
    {
      version: u32(0x00, 'version of this format', { equals: 1 }),
      keyId: bytesField(0x04, 16, 'identifies the key of this certificate'),
      certifyingId: bytesField(0x14, 16, 'key id of the signer'),
      usage: named(0x24, 4, caUsages, 'what the key is for'),
      reserved: reserved(0x28, 16),
      exponentBits: u32(0x38, 'size of the exponent field', { equals: modulusBits, unit: 'bits' }),
      modulusBits: u32(0x3c, 'size of the modulus field', { equals: modulusBits, unit: 'bits' }),
      exponent: bigInteger(0x40, width, width, 'public exponent'),
      modulus: bigInteger(0x40 + width, width, width, 'modulus'),
      signature: bigInteger(0x40 + 2 * width, width, width, 'RSASSA-PSS signature of everything before it'),
    },
  );
}

/** The two layouts of a certificate of AMD's root key (ARK) or signing key (ASK): 832 and 1600 bytes. */
export const amdCaCertificates = { 2048: declare(2048), 4096: declare(4096) } as const;

export interface AmdCaCertificate {
  /** 16 bytes. */
  readonly keyId: Uint8Array;
  /** 16 bytes: the key id of the signer. */
  readonly certifyingId: Uint8Array;
  readonly usage: CaUsage;
  readonly modulusBits: ModulusBits;
  readonly publicKey: RsaPublicKey;
  /** As long as the modulus, big-endian. */
  readonly signature: Uint8Array;
  /** 832 or 1600 bytes. */
  readonly raw: Uint8Array;
}

/**
 * Reads the certificate of an ARK or an ASK; its length says which layout it has.
 * @throws MalformedError naming the field and its offset
 */
export function parseAmdCaCertificate(
  bytes: Uint8Array,
  location: Location = { offset: 0 },
): AmdCaCertificate {
  const parsed = layoutFor(bytes, location).parse(bytes, location);
  const { keyId, certifyingId, usage, exponent, modulus, signature, raw } = parsed;
  const modulusBits = parsed.modulusBits as ModulusBits;
  return { keyId, certifyingId, usage, modulusBits, publicKey: { modulus, exponent }, signature, raw };
}

function layoutFor(bytes: Uint8Array, location: Location) {
  const layouts = Object.values(amdCaCertificates);
  const layout = layouts.find(({ size }) => size === bytes.length);
  if (layout !== undefined) return layout;
  const unsigned = layouts.some((each) => each.offsetOf('signature') === bytes.length);
  const evidence = {
    structure: location.path ?? amdCaCertificates[2048].name,
    field: 'length',
    offset: location.offset,
    expected: `${layouts.map(({ size }) => size).join(' or ')} bytes`,
    found: `${bytes.length} bytes, ${unsigned ? 'too short by exactly the signature' : 'neither layout'}`,
  };
  const hint =
    'AMD published the Naples ARK without its signature; use a complete copy, such as the one `vouchsafe kds fetch` gets';
  throw new MalformedError(evidence, unsigned ? { hint } : {});
}

/** The bytes that the signature covers: everything before it. */
export function caBody(certificate: Pick<AmdCaCertificate, 'raw' | 'modulusBits'>): Uint8Array {
  return certificate.raw.subarray(0, amdCaCertificates[certificate.modulusBits].offsetOf('signature'));
}

/** SHA-256 for keys of 2048 bits, SHA-384 for keys of 4096. */
export function caHash(certificate: Pick<AmdCaCertificate, 'modulusBits'>): HashName {
  return certificate.modulusBits === 2048 ? 'sha256' : 'sha384';
}

/** What a signature slot says when this certificate's key signed. */
export function caAlgorithm(certificate: Pick<AmdCaCertificate, 'modulusBits'>): KeyAlgorithm {
  return certificate.modulusBits === 2048 ? 'RSA-SHA256' : 'RSA-SHA384';
}

/** Digest of the certificate without its signature, lower-case hexadecimal: what roots are pinned by. */
export async function bodyDigest(
  certificate: Pick<AmdCaCertificate, 'raw' | 'modulusBits'>,
): Promise<string> {
  return toHex(await digest(caHash(certificate), caBody(certificate)));
}

/** Whether `signer`'s key made the signature of `certificate`. Key ids and usages are other checks. */
export async function isCaSignedBy(
  certificate: AmdCaCertificate,
  signer: AmdCaCertificate,
): Promise<boolean> {
  return verifyRsaPss(signer.publicKey, caHash(signer), caBody(certificate), certificate.signature);
}

export interface NewAmdCaCertificate {
  /** 16 bytes. */
  readonly keyId: Uint8Array;
  /** 16 bytes. */
  readonly certifyingId: Uint8Array;
  readonly usage: CaUsage;
  readonly modulusBits: ModulusBits;
  /** Big-endian, as long as the modulus. */
  readonly modulus: Uint8Array;
  /** Big-endian, of any length up to that of the modulus. */
  readonly exponent: Uint8Array;
}

/** The bytes to sign of a new ARK or ASK. @throws InvalidArgumentError */
export function buildAmdCaBody(values: NewAmdCaCertificate): Uint8Array {
  const width = values.modulusBits / 8;
  if (values.exponent.length > width)
    throw new InvalidArgumentError('exponent', `is longer than ${width} bytes`);
  const exponent = new Uint8Array(width);
  exponent.set(values.exponent, width - values.exponent.length);
  const layout = amdCaCertificates[values.modulusBits];
  const whole = layout.build({ ...values, exponent, signature: new Uint8Array(width) });
  return whole.slice(0, layout.offsetOf('signature'));
}

/**
 * A body with its signature (big-endian, as RSA libraries give it): the whole certificate.
 * @throws MalformedError when the body is not one; InvalidArgumentError when the signature is not as long as the modulus
 */
export function assembleAmdCaCertificate(body: Uint8Array, signatureBigEndian: Uint8Array): Uint8Array {
  const layout = Object.values(amdCaCertificates).find((each) => each.offsetOf('signature') === body.length);
  if (layout === undefined)
    throw new InvalidArgumentError('body', `${body.length} bytes are no AMD CA certificate's body`);
  const whole = new Uint8Array(layout.size);
  whole.set(body);
  return layout.build({ ...layout.parse(whole), signature: signatureBigEndian });
}

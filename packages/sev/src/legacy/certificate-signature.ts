import { isZero } from '../bytes.js';
import {
  type P384PrivateKey,
  type RsaPublicKey,
  signP384,
  verifyP384,
  verifyRsaPss,
} from '../crypto/index.js';
import { InvalidArgumentError } from '../errors.js';
import { type AmdCaCertificate, caAlgorithm } from './ca-certificate.js';
import {
  ecdsaSignature,
  hashOf,
  isP384Key,
  type KeyAlgorithm,
  type KeyUsage,
  parseSevCertificate,
  rsaSignature,
  type SevCertificate,
  type SignatureSlot,
  sevCertificate,
  signedBytes,
} from './certificate.js';

export interface SignatureVerdict {
  readonly valid: boolean;
  /** For people: `valid in slot 2`, `no slot names PEK`. */
  readonly found: string;
}

/**
 * Looks for the signer's signature in either slot. A slot is the signer's when it names both the usage and the
 * algorithm of the signer's key. Firmware lets the last of two matching slots decide; here a signer signs once, so a
 * second slot in its name is refused.
 */
export async function findSignature(
  certificate: SevCertificate,
  signer: SevCertificate | AmdCaCertificate,
): Promise<SignatureVerdict> {
  const algorithm = algorithmOf(signer);
  const matching = certificate.signatures.flatMap((slot, i) =>
    slot.usage === signer.usage && slot.algorithm === algorithm ? [{ slot, number: i + 1 }] : [],
  );
  const [match, second] = matching;
  if (match === undefined) return { valid: false, found: `no slot names ${signer.usage} with ${algorithm}` };
  if (second !== undefined) return { valid: false, found: `both slots name ${signer.usage}` };
  const valid = await verifySlot(certificate, match.slot, signer);
  return { valid, found: `the signature in slot ${match.number} is ${valid ? 'valid' : 'not valid'}` };
}

/** Whether exactly one slot is the signer's and its signature is valid. Usages and ids are other checks. */
export async function isSignedBy(
  certificate: SevCertificate,
  signer: SevCertificate | AmdCaCertificate,
): Promise<boolean> {
  return (await findSignature(certificate, signer)).valid;
}

export interface CertificateSigner {
  readonly usage: KeyUsage;
  readonly algorithm: KeyAlgorithm;
  readonly key: P384PrivateKey;
}

/**
 * Signs with an EC key, into the first empty slot, and gives the signed certificate.
 * @throws MalformedError for a certificate that is none; InvalidArgumentError when no slot is empty
 */
export async function signSevCertificate(
  certificate: Uint8Array,
  signer: CertificateSigner,
): Promise<Uint8Array> {
  const parsed = parseSevCertificate(certificate);
  const { r, s } = await signP384(signer.key, hashOf(signer.algorithm), signedBytes(parsed));
  return addSignature(certificate, signer, ecdsaSignature.build({ r, s }));
}

/**
 * Writes a ready signature field (512 bytes, see `ecdsaSignature` and `rsaSignature`) into the first empty slot: for
 * signers whose key is elsewhere, or is RSA's.
 * @throws MalformedError for a certificate that is none; InvalidArgumentError when no slot is empty
 */
export function addSignature(
  certificate: Uint8Array,
  signer: { readonly usage: KeyUsage; readonly algorithm: KeyAlgorithm },
  signatureField: Uint8Array,
): Uint8Array {
  const { signatures } = parseSevCertificate(certificate);
  const free = signatures.findIndex((slot) => slot.kind === 'empty');
  if (free < 0) throw new InvalidArgumentError('certificate', 'both signature slots are taken');
  const slot = { usage: signer.usage, algorithm: signer.algorithm, value: signatureField };
  const fields = sevCertificate.parse(certificate);
  const signed = sevCertificate.build({ ...fields, [free === 0 ? 'signature1' : 'signature2']: slot });
  return parseSevCertificate(signed).raw;
}

/**
 * The 512 bytes of a signature field for an RSA signature, which libraries give big-endian.
 * @throws InvalidArgumentError when it is longer than the field
 */
export function rsaSignatureField(signatureBigEndian: Uint8Array): Uint8Array {
  if (signatureBigEndian.length > rsaSignature.size) {
    throw new InvalidArgumentError('signature', `is longer than ${rsaSignature.size} bytes`);
  }
  const value = new Uint8Array(rsaSignature.size);
  value.set(signatureBigEndian, value.length - signatureBigEndian.length);
  return rsaSignature.build({ value });
}

/** What a slot names as the algorithm of this signer. */
export function algorithmOf(signer: SevCertificate | AmdCaCertificate): KeyAlgorithm {
  return 'modulusBits' in signer ? caAlgorithm(signer) : signer.algorithm;
}

async function verifySlot(
  certificate: SevCertificate,
  slot: SignatureSlot,
  signer: SevCertificate | AmdCaCertificate,
): Promise<boolean> {
  const key: SevCertificate['publicKey'] = signer.publicKey;
  if (slot.kind === 'ecdsa' && isP384Key(key)) {
    return verifyP384(key, hashOf(slot.algorithm), signedBytes(certificate), slot.ecdsa);
  }
  if (slot.kind === 'rsa' && !isP384Key(key)) {
    const signature = ofModulusLength(slot.rsa, key);
    if (signature === undefined) return false;
    return verifyRsaPss(key, hashOf(slot.algorithm), signedBytes(certificate), signature);
  }
  return false;
}

/** Bytes beyond the modulus must be zero: else they could be changed without anyone noticing. */
function ofModulusLength(signature: Uint8Array, key: RsaPublicKey): Uint8Array | undefined {
  const start = signature.length - key.modulus.length;
  return isZero(signature.subarray(0, start)) ? signature.subarray(start) : undefined;
}

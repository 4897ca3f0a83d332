import {
  ecdsaSignature,
  ecPublicKey,
  hashOf,
  isOnP384,
  isP384Key,
  type KeyUsage,
  keyAlgorithms,
  keyUsages,
  MalformedError,
  parseSevCertificate,
  type SevCertificate,
  sevCertificate,
  signatureSlot,
  verifyP384,
} from '@vouchsafe/sev';

/**
 * How the firmware judges a certificate that a host gives it: first the signature, then the body, then who may sign
 * whom. The signature is found in raw bytes, because a certificate whose body is malformed is INVALID_CERTIFICATE only
 * if it was signed. The caller has checked both lengths.
 */
export type CertificateVerdict = SevCertificate | 'BAD_SIGNATURE' | 'INVALID_CERTIFICATE';

/** Which usages a signer of each usage may sign. */
const mayBeSignedBy: Partial<Record<KeyUsage, readonly KeyUsage[]>> = {
  PDH: ['PEK'],
  PEK: ['OCA', 'CEK'],
  OCA: ['OCA'],
  CEK: ['ASK'],
};

export async function validateCertificate(
  bytes: Uint8Array,
  signer: Uint8Array,
): Promise<CertificateVerdict> {
  if (!(await isSigned(bytes, signer))) return 'BAD_SIGNATURE';
  const certificate = tryParse(() => parseSevCertificate(bytes));
  if (certificate === undefined) return 'INVALID_CERTIFICATE';
  if (!isP384Key(certificate.publicKey) || !(await isOnP384(certificate.publicKey)))
    return 'INVALID_CERTIFICATE';
  const signers = mayBeSignedBy[certificate.usage] ?? [];
  const signerUsage = wordAt(signer, sevCertificate.offsetOf('usage'));
  const allowed = signers.some((usage) => keyUsages[usage] === signerUsage);
  return allowed ? certificate : 'INVALID_CERTIFICATE';
}

/**
 * A slot is the signer's when usage and algorithm are those of the signer's key. AMD's firmware lets the last of two
 * such slots decide; here a signer signs once.
 */
async function isSigned(bytes: Uint8Array, signer: Uint8Array): Promise<boolean> {
  const slots = [slotAt(bytes, 'signature1'), slotAt(bytes, 'signature2')];
  const halfEmpty = slots.some(
    (slot) => (slot.usage === keyUsages.INVALID) !== (slot.algorithm === keyAlgorithms.INVALID),
  );
  if (halfEmpty) return false;
  const usage = wordAt(signer, sevCertificate.offsetOf('usage'));
  const algorithm = wordAt(signer, sevCertificate.offsetOf('algorithm'));
  const own = slots.filter((slot) => slot.usage === usage && slot.algorithm === algorithm);
  const hash = Object.entries(keyAlgorithms).find(
    ([name, value]) => value === algorithm && name.startsWith('ECDSA'),
  );
  const key = tryParse(() => ecPublicKey.parseAt(signer, sevCertificate.offsetOf('publicKey')));
  const signature = own.length === 1 ? tryParse(() => ecdsaSignature.parse(own[0]!.value)) : undefined;
  if (hash === undefined || key === undefined || signature === undefined) return false;
  const signed = bytes.subarray(0, sevCertificate.offsetOf('signature1'));
  return verifyP384(key, hashOf(hash[0] as keyof typeof keyAlgorithms), signed, signature);
}

function slotAt(bytes: Uint8Array, name: 'signature1' | 'signature2') {
  const start = sevCertificate.offsetOf(name);
  return {
    usage: wordAt(bytes, start + signatureSlot.offsetOf('usage')),
    algorithm: wordAt(bytes, start + signatureSlot.offsetOf('algorithm')),
    value: bytes.subarray(start + signatureSlot.offsetOf('value'), start + signatureSlot.size),
  };
}

function wordAt(bytes: Uint8Array, offset: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(offset, true);
}

function tryParse<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}

import { toHex } from '../bytes.js';
import type { FieldDescription, Structure } from '../codec/structure.js';
import { digest } from '../crypto/index.js';
import type { PlatformChain } from './bundle.js';
import { type AmdCaCertificate, amdCaCertificates, bodyDigest } from './ca-certificate.js';
import {
  ecdsaSignature,
  ecPublicKey,
  isP384Key,
  rsaPublicKey,
  rsaSignature,
  type SevCertificate,
  sevCertificate,
  signatureSlot,
  signedBytes,
} from './certificate.js';
import { caName } from './roots.js';

/** A certificate, ready to be shown. */
export interface CertificateSummary {
  /** `PDH`, or for a CA certificate who it says it is: `AMD ASK, Milan`. */
  readonly name: string;
  readonly usage: string;
  /** As `sevctl` writes it: `EP384 D256` for ECDH, `EP384 E256` for ECDSA, `R4096 R384` for RSA. */
  readonly keyKind: string;
  /** SHA-256 (SHA-384 for CA certificates of 4096 bits) of the signed bytes, lower-case hexadecimal. */
  readonly bodyDigest: string;
  /** Every field, with key and signatures decoded; offsets count from the certificate's first byte. */
  readonly fields: readonly FieldDescription[];
}

/** Summaries of the certificates at hand, from the key that sessions are made with to the root. */
export async function summarizeChain(chain: PlatformChain): Promise<CertificateSummary[]> {
  const { pdh, pek, oca, cek, exportedCek, ask, ark } = chain;
  const present = [pdh, pek, oca, cek, exportedCek, ask, ark].filter((each) => each !== undefined);
  return Promise.all(present.map(summarizeCertificate));
}

export async function summarizeCertificate(
  certificate: SevCertificate | AmdCaCertificate,
): Promise<CertificateSummary> {
  return 'modulusBits' in certificate ? summarizeCa(certificate) : summarizeSev(certificate);
}

/** The line that `sevctl` prints for a certificate: usage, kind of key, digest of the body. */
export function certificateLine({ usage, keyKind, bodyDigest }: CertificateSummary): string {
  return `${usage} ${keyKind} ${bodyDigest}`;
}

async function summarizeCa(certificate: AmdCaCertificate): Promise<CertificateSummary> {
  const { modulusBits, usage, raw } = certificate;
  const layout = amdCaCertificates[modulusBits];
  return {
    name: caName(certificate),
    usage,
    keyKind: `R${modulusBits} R${modulusBits === 2048 ? 256 : 384}`,
    bodyDigest: await bodyDigest(certificate),
    fields: layout.describe(layout.parse(raw)),
  };
}

async function summarizeSev(certificate: SevCertificate): Promise<CertificateSummary> {
  const { usage, algorithm, publicKey, raw } = certificate;
  const key = isP384Key(publicKey) ? 'EP384' : `R${8 * publicKey.modulus.length}`;
  const kind = algorithm.startsWith('ECDH') ? 'D' : algorithm.startsWith('ECDSA') ? 'E' : 'R';
  return {
    name: usage,
    usage,
    keyKind: `${key} ${kind}${algorithm.endsWith('SHA384') ? 384 : 256}`,
    bodyDigest: toHex(await digest('sha256', signedBytes(certificate))),
    fields: describeSev(certificate, raw),
  };
}

/** The structure's own rows, with the key and the slots replaced by the rows of what stands in them. */
function describeSev(certificate: SevCertificate, raw: Uint8Array): FieldDescription[] {
  const isEc = isP384Key(certificate.publicKey);
  return sevCertificate.describe(sevCertificate.parse(raw)).flatMap((row) => {
    if (row.name === 'publicKey') {
      return isEc
        ? inside(ecPublicKey, raw, row.offset, row.name)
        : inside(rsaPublicKey, raw, row.offset, row.name);
    }
    if (row.name !== 'signature1' && row.name !== 'signature2') return [row];
    const slot = certificate.signatures[row.name === 'signature1' ? 0 : 1];
    const value = row.offset + signatureSlot.offsetOf('value');
    const head = inside(signatureSlot, raw, row.offset, row.name).filter(({ offset }) => offset !== value);
    if (slot.kind === 'ecdsa') return [...head, ...inside(ecdsaSignature, raw, value, row.name)];
    if (slot.kind === 'rsa') return [...head, ...inside(rsaSignature, raw, value, row.name)];
    return head;
  });
}

function inside<T extends object, B extends object>(
  inner: Structure<T, B>,
  raw: Uint8Array,
  offset: number,
  prefix: string,
): FieldDescription[] {
  const rows = inner.describe(inner.parseAt(raw, offset));
  return rows.map((row) => ({ ...row, name: `${prefix}.${row.name}`, offset: offset + row.offset }));
}

import { constants, verify } from 'node:crypto';
import {
  type AmdCaCertificate,
  caBody,
  concat,
  isP384Key,
  parseChainFiles,
  type SevCertificate,
  signedBytes,
  verdict,
  verifyPlatformChain,
} from '@vouchsafe/sev';
import { keyObject } from './keys.js';
import type { Benchmark } from './measure.js';
import { makePlatform } from './platform.js';

/** From the bytes of a full export to a verdict, against the signature verifications alone. */
export async function chainVerification(): Promise<Omit<Benchmark, 'name'>> {
  const { chain, root } = await makePlatform();
  const verifications = signaturesOf(chain);
  return {
    unit: 'chains/s',
    amount: 1,
    async ours() {
      const parsed = parseChainFiles([{ name: 'export', bytes: chain }]);
      const appraisal = await verifyPlatformChain(parsed, { roots: [root] });
      if (!verdict(appraisal).accepted)
        throw new Error(`the chain was refused: ${JSON.stringify(appraisal.checks)}`);
    },
    raw() {
      if (!verifications.every((isValid) => isValid())) throw new Error('a signature is not valid');
    },
  };
}

/** One function for each signature that a chain verification has to verify. */
function signaturesOf(chain: Uint8Array): (() => boolean)[] {
  const { pdh, pek, oca, cek, ask, ark } = parseChainFiles([{ name: 'export', bytes: chain }]) as Required<
    ReturnType<typeof parseChainFiles>
  >;
  return [
    byCa('sha384', caBody(ark), ark, ark.signature),
    byCa('sha384', caBody(ask), ark, ask.signature),
    byCa('sha384', signedBytes(cek), ask, rsaSlot(cek)),
    byEc(oca, oca),
    byEc(pek, oca),
    byEc(pek, cek),
    byEc(pdh, pek),
  ];
}

function byCa(
  hash: string,
  data: Uint8Array,
  signer: AmdCaCertificate,
  signature: Uint8Array,
): () => boolean {
  const key = {
    key: keyObject(signer.publicKey),
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  };
  return () => verify(hash, data, key, signature);
}

function byEc(certificate: SevCertificate, signer: SevCertificate): () => boolean {
  const slot = certificate.signatures.find((each) => each.usage === signer.usage);
  if (slot?.kind !== 'ecdsa' || !isP384Key(signer.publicKey))
    throw new TypeError('expected an ECDSA signature');
  const key = { key: keyObject(signer.publicKey), dsaEncoding: 'ieee-p1363' } as const;
  const [data, signature] = [signedBytes(certificate), concat(slot.ecdsa.r, slot.ecdsa.s)];
  return () => verify('sha256', data, key, signature);
}

function rsaSlot(certificate: SevCertificate): Uint8Array {
  const slot = certificate.signatures.find((each) => each.kind === 'rsa');
  if (slot?.kind !== 'rsa') throw new TypeError('expected an RSA signature');
  return slot.rsa;
}

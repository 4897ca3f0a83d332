import { buildSevCertificate, generateP384, systemRandom } from '@vouchsafe/sev';

/** A chip as its manufacturer knows it: an id, and a CEK that nobody has signed yet. */
export async function makeChip() {
  const key = await generateP384();
  const cek = buildSevCertificate({
    apiMajor: 0,
    apiMinor: 14,
    usage: 'CEK',
    algorithm: 'ECDSA-SHA256',
    publicKey: key.publicKey,
  });
  return { id: systemRandom(64), cek, key };
}

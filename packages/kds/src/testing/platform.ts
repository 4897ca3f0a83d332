import {
  buildSevCertificate,
  concat,
  generateP384,
  type KeyAlgorithm,
  type KeyUsage,
  signSevCertificate,
} from '@vouchsafe/sev';
import type { makeChip } from './chip.js';

/** What a chip's firmware makes of itself at its first INIT: PDH‖PEK‖OCA, by the rules of its certificates. */
export async function makePlatform(chip: Awaited<ReturnType<typeof makeChip>>): Promise<Uint8Array> {
  const make = async (usage: KeyUsage, algorithm: KeyAlgorithm) => {
    const key = await generateP384();
    const unsigned = buildSevCertificate({
      apiMajor: 1,
      apiMinor: 55,
      usage,
      algorithm,
      publicKey: key.publicKey,
    });
    return { signer: { usage, algorithm, key }, unsigned };
  };
  const oca = await make('OCA', 'ECDSA-SHA256');
  const pek = await make('PEK', 'ECDSA-SHA256');
  const pdh = await make('PDH', 'ECDH-SHA256');
  const cek = { usage: 'CEK', algorithm: 'ECDSA-SHA256', key: chip.key } as const;
  return concat(
    await signSevCertificate(pdh.unsigned, pek.signer),
    await signSevCertificate(await signSevCertificate(pek.unsigned, oca.signer), cek),
    await signSevCertificate(oca.unsigned, oca.signer),
  );
}

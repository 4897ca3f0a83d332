import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDevelopmentAuthority } from '@vouchsafe/kds';
import {
  buildExport,
  buildSevCertificate,
  generateP384,
  type KeyUsage,
  type P384PrivateKey,
  type PlatformRoot,
  parseChainFiles,
  signSevCertificate,
  systemRandom,
} from '@vouchsafe/sev';

/** A platform of Milan's form with a chain under a development root that is thrown away afterwards. */
export async function makePlatform(): Promise<{
  chain: Uint8Array;
  root: PlatformRoot;
  pdh: P384PrivateKey;
}> {
  const folder = await mkdtemp(join(tmpdir(), 'vouchsafe-bench-'));
  try {
    const authority = await openDevelopmentAuthority({ folder, generation: 'milan' });
    const [cek, oca, pek, pdh] = [
      await generateP384(),
      await generateP384(),
      await generateP384(),
      await generateP384(),
    ];
    const body = (
      usage: KeyUsage,
      key: P384PrivateKey,
      algorithm: 'ECDSA-SHA256' | 'ECDH-SHA256' = 'ECDSA-SHA256',
    ) => buildSevCertificate({ apiMajor: 1, apiMinor: 55, usage, algorithm, publicKey: key.publicKey });
    const sign = (certificate: Uint8Array, usage: KeyUsage, key: P384PrivateKey) =>
      signSevCertificate(certificate, { usage, algorithm: 'ECDSA-SHA256', key });

    const files = [
      await sign(body('PDH', pdh, 'ECDH-SHA256'), 'PEK', pek),
      await sign(await sign(body('PEK', pek), 'OCA', oca), 'CEK', cek),
      await sign(body('OCA', oca), 'OCA', oca),
      await authority.endorse(systemRandom(64), body('CEK', cek)),
      authority.ask,
      authority.ark,
    ];
    const parsed = parseChainFiles(files.map((bytes, i) => ({ name: `certificate ${i}`, bytes })));
    return { chain: buildExport(parsed, { full: true }), root: authority.root, pdh };
  } finally {
    await rm(folder, { recursive: true });
  }
}

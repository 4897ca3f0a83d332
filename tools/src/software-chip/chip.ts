import { join } from 'node:path';
import { type DevelopmentAuthorityOptions, openDevelopmentAuthority, serveKds } from '@vouchsafe/kds';
import {
  type CertificateTableEntry,
  certificateTableGuids,
  generateP384,
  type P384PublicKey,
  signSnpReport,
  systemRandom,
  toHex,
} from '@vouchsafe/sev';
import { unsignedReport } from './report.js';

/** A chip in software that signs reports, and the key service that endorses it. */
export interface SoftwareChip {
  /** Launch digest of its guests, in hexadecimal. */
  readonly measurement: string;
  /** File with the root that the chip is endorsed under: an ARK certificate in DER. */
  readonly root: string;
  /** Base address of its key service. */
  readonly keyService: string;
  /** Verifies its reports. */
  readonly publicKey: P384PublicKey;
  /** What the host gives to its guests: the VCEK. */
  readonly certificates: readonly CertificateTableEntry[];
  /** @param reportData 64 bytes @returns 1184 bytes */
  report(reportData: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

/**
 * @param folder keeps the authority, which is made when it is empty
 * @param options of a new authority
 */
export async function makeSoftwareChip(
  folder: string,
  options: Pick<DevelopmentAuthorityOptions, 'generateKeys'> = {},
): Promise<SoftwareChip> {
  const authority = await openDevelopmentAuthority({ folder, generation: 'milan', ...options });
  const { snp } = authority;
  if (snp === undefined) throw new TypeError('Milan has SEV-SNP');
  const key = await generateP384();
  const tcb = { bootloader: 4, tee: 0, snp: 24, microcode: 217 };
  const [chipId, measurement] = [systemRandom(64), systemRandom(48)];
  const vcek = await snp.endorseVcek({ line: 'Milan', tcb, chipId, publicKey: key.publicKey });
  const server = await serveKds(authority);
  return {
    measurement: toHex(measurement),
    root: join(folder, 'milan', 'ark.der'),
    keyService: server.url,
    publicKey: key.publicKey,
    certificates: [{ kind: 'VCEK', guid: certificateTableGuids.VCEK, bytes: vcek }],
    report: (reportData) => signSnpReport(unsignedReport({ tcb, chipId, measurement, reportData }), key),
    close: () => server.close(),
  };
}

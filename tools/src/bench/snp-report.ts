import { constants, verify } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDevelopmentAuthority } from '@vouchsafe/kds';
import {
  type Appraisal,
  appraiseReport,
  concat,
  endorse,
  generateP384,
  isP384Key,
  parseCertificate,
  parseSnpReport,
  signedBytesOfReport,
  signSnpReport,
  systemRandom,
  verdict,
  verifyReport,
  type X509Certificate,
} from '@vouchsafe/sev';
import { unsignedReport } from '../software-chip/report.js';
import { keyObject } from './keys.js';
import type { Benchmark } from './measure.js';

/** A report whose certificates the caller has verified before, against the verification of its signature alone. */
export async function warmReport(): Promise<Omit<Benchmark, 'name'>> {
  const { report, endorsements, options, rawSignature } = await makeEvidence();
  const endorsement = await endorse(endorsements, options);
  return {
    unit: 'reports/s',
    amount: 1,
    ours: async () => requireGenuine(await appraiseReport(report, endorsement, { at: options.at })),
    raw: () => requireValid(rawSignature()),
  };
}

/** A report with certificates in DER that nobody has looked at, against the four signatures, their keys imported. */
export async function coldReport(): Promise<Omit<Benchmark, 'name'>> {
  const { report, endorsements, options, chain, rawSignature } = await makeEvidence();
  const [vek, ask, ark] = chain;
  const signatures = [byRsa(ark, ark), byRsa(ask, ark), byRsa(vek, ask), rawSignature];
  return {
    unit: 'reports/s',
    amount: 1,
    ours: async () => requireGenuine(await verifyReport({ report, ...endorsements }, options)),
    raw: () => requireValid(signatures.every((isValid) => isValid())),
  };
}

/** Many reports at once, against the same one after the other: the ratio is how many cores are put to work. */
export async function concurrentReports(): Promise<Omit<Benchmark, 'name'>> {
  const amount = 16;
  const { report, endorsements, options } = await makeEvidence();
  const endorsement = await endorse(endorsements, options);
  const one = async () => requireGenuine(await appraiseReport(report, endorsement, { at: options.at }));
  return {
    unit: 'reports/s',
    amount,
    ours: () => Promise.all(Array.from({ length: amount }, one)),
    async raw() {
      for (let i = 0; i < amount; i++) await one();
    },
  };
}

/** A report of Milan's form, of a chip under a development root that is thrown away afterwards. */
async function makeEvidence() {
  const folder = await mkdtemp(join(tmpdir(), 'vouchsafe-bench-'));
  try {
    const { snp } = await openDevelopmentAuthority({ folder, generation: 'milan' });
    if (snp === undefined) throw new TypeError('Milan has SEV-SNP');
    const key = await generateP384();
    const tcb = { bootloader: 4, tee: 0, snp: 24, microcode: 217 };
    const chipId = systemRandom(64);
    const vek = await snp.endorseVcek({ line: 'Milan', tcb, chipId, publicKey: key.publicKey });
    const report = await signSnpReport(unsignedReport({ tcb, chipId }), key);
    const certificates = [snp.ask, snp.ark];
    const options = { roots: [snp.root], at: Date.now() + 3_600_000, revocation: 'skip' } as const;
    const parsed = parseSnpReport(report);
    const verifying = { key: keyObject(key.publicKey), dsaEncoding: 'ieee-p1363' } as const;
    const [data, signature] = [signedBytesOfReport(parsed), concat(parsed.signature.r, parsed.signature.s)];
    const chain = [parseCertificate(vek), parseCertificate(snp.ask), parseCertificate(snp.ark)] as const;
    const rawSignature = () => verify('sha384', data, verifying, signature);
    return { report, endorsements: { vek, certificates }, options, chain, rawSignature };
  } finally {
    await rm(folder, { recursive: true });
  }
}

function byRsa(certificate: X509Certificate, signer: X509Certificate): () => boolean {
  if (isP384Key(signer.publicKey)) throw new TypeError('expected an RSA key');
  const key = {
    key: keyObject(signer.publicKey),
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  };
  return () => verify('sha384', certificate.signedBytes, key, certificate.signature);
}

function requireGenuine(appraisal: Appraisal): void {
  if (!verdict(appraisal).accepted)
    throw new Error(`the report was refused: ${JSON.stringify(verdict(appraisal).failed)}`);
}

function requireValid(valid: boolean): void {
  if (!valid) throw new Error('a signature is not valid');
}

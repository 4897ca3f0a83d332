import { expect, test } from 'vitest';
import { verdict } from '../appraisal/appraisal.js';
import { MalformedError } from '../errors.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import { parseCertificate, type X509Certificate } from '../x509/certificate.js';
import { readCertificates } from '../x509/files.js';
import { amdEndorsementRoots } from './trust-anchor.js';
import { endorse } from './verified-endorsement.js';
import { appraiseEndorsement } from './verify-endorsement.js';
import { appraiseReport } from './verify-report.js';

/** Every bit in `test:full`; in the daily run one of each byte, another one for each file. */
const everyBit = process.env['VOUCHSAFE_FULL'] === '1';
const full = { timeout: everyBit ? 3_600_000 : 300_000 };

function* flips(bytes: Uint8Array, seed: number): Generator<readonly [at: number, flipped: Uint8Array]> {
  for (let at = 0; at < bytes.length; at++) {
    const bits = everyBit ? [0, 1, 2, 3, 4, 5, 6, 7] : [(at * 5 + seed) % 8];
    for (const bit of bits) {
      const flipped = bytes.slice();
      flipped[at]! ^= 1 << bit;
      yield [at, flipped];
    }
  }
}

/** Works on two at a time, for both cores. Gives the offsets of changes that were not refused. */
async function accepted(
  changes: Iterable<readonly [at: number, flipped: Uint8Array]>,
  isAccepted: (flipped: Uint8Array) => Promise<boolean>,
): Promise<number[]> {
  const found: number[] = [];
  const queue = changes[Symbol.iterator]();
  const worker = async () => {
    for (let next = queue.next(); next.done !== true; next = queue.next()) {
      const [at, flipped] = next.value;
      if (await isAccepted(flipped)) found.push(at);
    }
  };
  await Promise.all([worker(), worker()]);
  return found;
}

describeWithVectors('one flipped bit is enough', () => {
  const { cases } = jsonVector<{ cases: { report: string; vek: string; chain: string; at: string }[] }>(
    'snp/verdicts.json',
  );
  const rows = cases.map((each, seed) => [each.report, seed, each] as const);
  const inputs = ({ report, vek, chain, at }: (typeof cases)[number]) => ({
    report: vectors(`snp/reports/${report}`),
    vek: readCertificates(vectors(`snp/reports/${vek}`))[0]!.raw,
    certificates: [vectors(`snp/certs/${chain}`)],
    options: { roots: amdEndorsementRoots, at: Date.parse(at), revocation: 'skip' } as const,
  });

  test.each(rows)('in %s', full, async (_name, seed, each) => {
    const { report, vek, certificates, options } = inputs(each);
    const endorsement = await endorse({ vek, certificates }, options);
    const allowances = {
      at: options.at,
      allowDebug: true,
      allowMigrationAgent: true,
      allowProvisional: true,
    };
    const isAccepted = async (bytes: Uint8Array) =>
      verdict(await appraiseReport(bytes, endorsement, allowances)).accepted;
    expect(await isAccepted(report)).toBe(true);
    expect(await accepted(flips(report, seed), isAccepted)).toEqual([]);
  });

  test.each(rows)('in the VEK of %s', full, async (_name, seed, each) => {
    const { vek, certificates: files, options } = inputs(each);
    // Read once: the authorities stay as they are.
    const certificates = files.flatMap((file) => readCertificates(file));
    const isAccepted = async (bytes: Uint8Array) => {
      let changed: X509Certificate;
      try {
        changed = parseCertificate(bytes);
      } catch (error) {
        if (error instanceof MalformedError) return false;
        throw error;
      }
      return verdict(await appraiseEndorsement({ vek: changed, certificates }, options)).accepted;
    };
    expect(await isAccepted(vek)).toBe(true);
    expect(await accepted(flips(vek, seed), isAccepted)).toEqual([]);
  });
});

import { type Appraisal, verdict } from '../appraisal/appraisal.js';
import type { EndorsementCheck } from '../snp/endorsement-checks.js';
import type { EndorsementRoot } from '../snp/endorsement-rules.js';
import { certificateFingerprint } from '../snp/trust-anchor.js';
import {
  appraiseEndorsement,
  type EndorsementEvidence,
  type EndorsementOptions,
} from '../snp/verify-endorsement.js';
import type { X509Certificate } from '../x509/certificate.js';
import { amdSignatureAlgorithm } from '../x509/signature-algorithm.js';
import { day, makeEndorser, type TestEndorser, testEndorserKeys } from './endorsements.js';

export const now = day('2026-03-15');
/** What signatures under the root are not made with, though they verify. */
export const sha256 = { ...amdSignatureAlgorithm, hash: 'SHA-256', maskHash: 'SHA-256', saltLength: 32 };
export let milan: TestEndorser;
export let genoa: TestEndorser;
export let vcek: X509Certificate;
export let vlek: X509Certificate;
/** For `beforeAll`. */
export async function makeEndorsers(): Promise<void> {
  const keys = testEndorserKeys();
  milan = await makeEndorser('Milan', keys);
  genoa = await makeEndorser('Genoa', keys);
  [vcek, vlek] = await Promise.all([milan.vek('VCEK'), milan.vek('VLEK')]);
}

/** The chain of a VCEK under the roots of a test, with some of it replaced. */
export const appraise = (
  evidence: Partial<EndorsementEvidence> = {},
  options: Partial<EndorsementOptions> = {},
) =>
  appraiseEndorsement(
    { vek: vcek, certificates: [milan.ask, milan.ark], ...evidence },
    { roots: [milan.root], at: now, revocation: 'skip', ...options },
  );

/** The ids of the checks that failed, without what they have in common. */
export const failed = (appraisal: Appraisal) =>
  verdict(appraisal).failed.map(({ id }) => id.slice('endorsement.'.length));
export const checkOf = (appraisal: Appraisal, id: EndorsementCheck) =>
  appraisal.checks.find((each) => each.id === id)!;

/** A root that trusts another ARK by the same rules, or by rules that the test changes. */
export const rootFor = async (
  ark: X509Certificate,
  change: Partial<EndorsementRoot> = {},
): Promise<EndorsementRoot> => ({
  ...milan.root,
  ...change,
  arkSha256: await certificateFingerprint(ark),
});

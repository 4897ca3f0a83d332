import { describe, expect, test } from 'vitest';
import { type Appraisal, verdict } from '../appraisal/appraisal.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import { amdEndorsementRoots } from './trust-anchor.js';
import { type VerifyReportOptions, verifyReport } from './verify-report.js';

interface VerdictCase {
  readonly report: string;
  readonly vek: string;
  readonly chain: string;
  readonly at: string;
  readonly flags: readonly string[];
  readonly with_flags: string;
  readonly without_flags: string;
  readonly after_expiry: { readonly at: string; readonly verdict: string };
}

const flags: Readonly<Record<string, Partial<VerifyReportOptions>>> = {
  '--allow-debug': { allowDebug: true },
  '--allow-provisional': { allowProvisional: true },
};

const failed = (appraisal: Appraisal) => verdict(appraisal).failed.map(({ id }) => id);

describeWithVectors('verdicts of genuine reports', () => {
  const { cases } = jsonVector<{ cases: VerdictCase[] }>('snp/verdicts.json');
  const evidenceOf = ({ report, vek, chain }: VerdictCase) => ({
    report: vectors(`snp/reports/${report}`),
    vek: vectors(`snp/reports/${vek}`),
    certificates: [vectors(`snp/certs/${chain}`)],
  });
  const optionsOf = (at: string, names: readonly string[]): VerifyReportOptions => ({
    roots: amdEndorsementRoots,
    revocation: 'skip',
    at: Date.parse(at),
    ...Object.assign({}, ...names.map((name) => flags[name])),
  });
  const word = (appraisal: Appraisal) => (verdict(appraisal).accepted ? 'accepted' : 'refused');

  describe.each(cases.map((each) => [each.report, each] as const))('%s', (_name, each) => {
    test('with its flags', async () => {
      const appraisal = await verifyReport(evidenceOf(each), optionsOf(each.at, each.flags));
      expect(failed(appraisal)).toEqual([]);
      expect(word(appraisal)).toBe(each.with_flags);
      expect(verdict(appraisal).word).toBe('authentic');
      expect(appraisal.root?.name).toMatch(/^AMD, (Milan|Genoa|Turin)$/);
    });

    test('without', async () => {
      const appraisal = await verifyReport(evidenceOf(each), optionsOf(each.at, []));
      expect(word(appraisal)).toBe(each.without_flags);
      const refusals: Record<string, string> = {
        '--allow-debug': 'guest.debug',
        '--allow-provisional': 'firmware.committed',
      };
      expect(failed(appraisal)).toEqual(each.flags.map((flag) => refusals[flag]));
    });

    test('after the VEK has expired', async () => {
      const appraisal = await verifyReport(evidenceOf(each), optionsOf(each.after_expiry.at, each.flags));
      expect(word(appraisal)).toBe(each.after_expiry.verdict);
      expect(failed(appraisal)).toEqual(['endorsement.vek.validity']);
    });
  });
});

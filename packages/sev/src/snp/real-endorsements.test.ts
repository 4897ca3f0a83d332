import { describe, expect, test } from 'vitest';
import { verdict } from '../appraisal/appraisal.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import { parseCertificate, type X509Certificate } from '../x509/certificate.js';
import { readCertificates } from '../x509/files.js';
import { amdEndorsementRoots, certificateFingerprint } from './trust-anchor.js';
import { appraiseEndorsement, type EndorsementOptions } from './verify-endorsement.js';

interface Verdict {
  readonly vek: string;
  readonly chain: string;
  readonly at: string;
  readonly after_expiry: { readonly at: string };
}

const options = (at: number, revocation: EndorsementOptions['revocation'] = 'skip') => ({
  roots: amdEndorsementRoots,
  at,
  revocation,
});
const chainFile = (name: string) => readCertificates(vectors(`snp/certs/cert_chain_${name}.pem`));

/** The ids of the checks that failed. */
async function failures(vek: X509Certificate, certificates: readonly X509Certificate[], at: number) {
  const appraisal = await appraiseEndorsement({ vek, certificates }, options(at));
  return verdict(appraisal).failed.map(({ id }) => id.replace('endorsement.', ''));
}

describeWithVectors('real endorsements', () => {
  const { cases } = jsonVector<{ cases: readonly Verdict[] }>('snp/verdicts.json');
  const read = ({ vek, chain }: Verdict) => ({
    vek: readCertificates(vectors(`snp/reports/${vek}`))[0]!,
    certificates: readCertificates(vectors(`snp/certs/${chain}`)),
  });

  test.each(cases)('$vek leads to AMD’s root', async (each) => {
    const { vek, certificates } = read(each);
    const at = Date.parse(each.at);
    const appraisal = await appraiseEndorsement({ vek, certificates }, options(at));
    expect(verdict(appraisal)).toEqual({ accepted: true, word: 'authentic', failed: [] });
    const [, ark] = certificates;
    expect(appraisal.root).toMatchObject({ kind: 'amd', fingerprint: await certificateFingerprint(ark!) });
    expect(await failures(vek, [...certificates].reverse(), at)).toEqual([]);
    expect(await failures(vek, certificates, vek.notAfter)).toEqual([]);
    expect(await failures(vek, certificates, vek.notBefore)).toEqual([]);
  });

  test.each(cases)('$vek is refused after and before its time', async (each) => {
    const { vek, certificates } = read(each);
    expect(await failures(vek, certificates, Date.parse(each.after_expiry.at))).toEqual(['vek.validity']);
    expect(await failures(vek, certificates, vek.notAfter + 1)).toEqual(['vek.validity']);
    expect(await failures(vek, certificates, vek.notBefore - 1)).toEqual(['vek.validity']);
  });
});

import { expect, test } from 'vitest';
import { verdict } from '../appraisal/appraisal.js';
import { describeWithVectors, vectors } from '../testing/vectors.js';
import { readCertificates } from '../x509/files.js';
import { amdEndorsementRoots } from './trust-anchor.js';
import { verifyReport } from './verify-report.js';

const at = Date.UTC(2024, 5, 1);

/** Trustee's own test data of its SEV-SNP verifier; the vectors' README says what each is. */
describeWithVectors('endorsements of Trustee’s verifier', () => {
  const report = vectors('kbs/snp/report-milan.bin');
  const failed = async (vek: string, chain: string) => {
    const evidence = {
      report,
      vek: vectors(`kbs/snp/${vek}`),
      certificates: [vectors(`kbs/snp/${chain}_ask_ark_asvk.pem`)],
    };
    const appraisal = await verifyReport(evidence, { roots: amdEndorsementRoots, at, revocation: 'skip' });
    return verdict(appraisal).failed.map(({ id }) => id);
  };

  test('the Milan report is signed by its VCEK, which leads to AMD’s root; its firmware was provisional', async () => {
    expect(await failed('vcek-milan.der', 'milan')).toEqual(['firmware.committed']);
  });

  test('the legacy VCEK does not verify under the Milan ASK', async () => {
    expect(await failed('vcek-milan-invalid-legacy.der', 'milan')).toEqual([
      'endorsement.vek.ask-signature',
      'vek.tcb',
      'vek.hardware-id',
      'report.signature',
      'firmware.committed',
    ]);
  });

  test.each(['genoa', 'turin'])('the Milan VCEK has no issuer in the files of %s', async (chain) => {
    expect(await failed('vcek-milan.der', chain)).toEqual([
      'endorsement.vek.name',
      'endorsement.vek.product',
      'endorsement.vek.ask-signature',
      'firmware.committed',
    ]);
  });

  test.each(['milan', 'genoa', 'turin'])('the files of %s are ASK, ARK and ASVK', (name) => {
    const line = `${name[0]!.toUpperCase()}${name.slice(1)}`;
    const certificates = readCertificates(vectors(`kbs/snp/${name}_ask_ark_asvk.pem`));
    const names = certificates.map(
      ({ subject }) => subject.attributes.find(({ type }) => type === 'CN')?.value,
    );
    expect(names).toEqual([`SEV-${line}`, `ARK-${line}`, `SEV-VLEK-${line}`]);
  });
});

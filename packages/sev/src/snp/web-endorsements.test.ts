import { expect, test, vi } from 'vitest';
import { verdict } from '../appraisal/appraisal.js';
import * as port from '../crypto/index.js';
import * as web from '../crypto/web.js';
import { describeWithVectors, jsonVector, vectors } from '../testing/vectors.js';
import { readCertificates } from '../x509/files.js';
import { amdEndorsementRoots } from './trust-anchor.js';
import { appraiseEndorsement } from './verify-endorsement.js';

vi.mock('#crypto', () => import('../crypto/web.js'));

interface Verdict {
  readonly vek: string;
  readonly chain: string;
  readonly at: string;
}

describeWithVectors('with WebCrypto, as in a browser', () => {
  const { cases } = jsonVector<{ cases: readonly Verdict[] }>('snp/verdicts.json');

  test('it is WebCrypto that verifies', () => {
    expect(port.verifyRsaPss).toBe(web.verifyRsaPss);
  });

  test.each(cases)('$vek leads to AMD’s root, and a changed one does not', async ({ vek, chain, at }) => {
    const [certificate] = readCertificates(vectors(`snp/reports/${vek}`));
    const certificates = readCertificates(vectors(`snp/certs/${chain}`));
    const options = { roots: amdEndorsementRoots, at: Date.parse(at), revocation: 'skip' } as const;
    const good = await appraiseEndorsement({ vek: certificate!, certificates }, options);
    expect(verdict(good).word).toBe('authentic');
    const signature = certificate!.signature.with(9, certificate!.signature[9]! ^ 1);
    const bad = await appraiseEndorsement({ vek: { ...certificate!, signature }, certificates }, options);
    expect(verdict(bad).failed.map(({ id }) => id)).toEqual(['endorsement.vek.ask-signature']);
  });
});

import type { Appraisal, Check } from '@vouchsafe/sev';
import type { SnpClaims } from '../attestation/claims.js';
import { cedarReleasePolicy } from '../policy/cedar/release-policy.js';
import { type DecisionInput, decide } from '../policy/decision.js';
import type { ReleasePolicy } from '../policy/release-policy.js';
import type { ReferenceDocument } from '../reference-values/document.js';
import { someClaims, testNow } from './questions.js';
import { someDocument } from './reference-values.js';

/** Permits everything, by the rule `all`. */
export const permit: ReleasePolicy = cedarReleasePolicy('@id("all") permit (principal, action, resource);');

export const check = (id: string, status: Check['status'], found = 'this'): Check => ({
  id,
  title: id,
  kind: 'authenticity',
  status,
  ...(status === 'not-asked' ? {} : { expected: 'that', found }),
});

/** The verdict over evidence that nobody would refuse, but for the checks that a test changes. */
export function evidence(changes: readonly Check[] = [], root = someClaims().root): Appraisal {
  const checks = [check('report.signature', 'pass'), check('report.data', 'pass')];
  const others = checks.filter(({ id }) => !changes.some((each) => each.id === id));
  return { subject: 'report', ...(root === undefined ? {} : { root }), checks: [...others, ...changes] };
}

/** A yes, but for what a test changes: `app/key/disk` for the guest of `someClaims`, known by `someDocument`. */
export const decided = (changes: Partial<DecisionInput> = {}) =>
  decide({
    claims: someClaims(),
    appraisal: evidence(),
    referenceDocuments: [someDocument()],
    releasePolicy: permit,
    resource: { repository: 'app', type: 'key', tag: 'disk' },
    now: testNow,
    ...changes,
  });

export const claims = (changes: Partial<SnpClaims>) => ({ claims: someClaims(changes) });

export const documents = (...referenceDocuments: ReferenceDocument[]) => ({ referenceDocuments });

/** A document of one floor and no measurement. */
export function floor(
  reported: NonNullable<ReferenceDocument['tcbFloors']>[number]['reported'],
  changes: Partial<ReferenceDocument> = {},
  productLine: 'Milan' | 'Genoa' = 'Milan',
): ReferenceDocument {
  const tcbFloors = [{ productLine, reported }];
  return someDocument({ name: 'floors', measurements: undefined, tcbFloors, ...changes });
}

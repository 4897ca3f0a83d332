import { type Appraisal, snpReportChecks, verdict } from '@vouchsafe/sev';
import { expect, it } from 'vitest';
import { openedAppraisal, storedAppraisal } from './stored-appraisal.js';

const root = { name: 'AMD, Milan', kind: 'amd', fingerprint: 'ab' } as const;
const { title, kind } = snpReportChecks['report.signature'];
const others = snpReportChecks['report.data'];
const appraisal: Appraisal = {
  subject: 'SEV-SNP attestation report',
  root,
  checks: [
    { id: 'report.signature', title, kind, status: 'pass', expected: 'a signature', found: 'a signature' },
    { id: 'report.data', title: others.title, kind: others.kind, status: 'not-asked', hint: 'ask' },
  ],
};

it('a session keeps how each check stood, and which root it led to', () => {
  const kept = JSON.parse(JSON.stringify(storedAppraisal(appraisal)));
  const opened = openedAppraisal(kept);
  expect(opened).toEqual({
    ...appraisal,
    checks: appraisal.checks.map(({ expected: _e, found: _f, hint: _h, ...check }) => check),
  });
  expect(verdict(opened)).toEqual(verdict(appraisal));
});

it.each(['fail', 'pass', 'not-asked', 'unheard of'])('a check that nobody knows has failed: %s', (status) => {
  const kept = { subject: 'report', root, checks: { 'report.signature': 'pass', 'report.new': status } };
  const opened = openedAppraisal(kept as ReturnType<typeof storedAppraisal>);
  expect(verdict(opened).accepted).toBe(false);
  expect(verdict(opened).failed.map(({ id }) => id)).toEqual(['report.new']);
});

it('a standing that there is not is no pass', () => {
  const kept = { subject: 'report', root, checks: { 'report.signature': 'unheard of' } };
  expect(verdict(openedAppraisal(kept as unknown as ReturnType<typeof storedAppraisal>)).accepted).toBe(
    false,
  );
});

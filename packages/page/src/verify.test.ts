import { InvalidArgumentError } from '@vouchsafe/sev';
import { beforeAll, expect, it } from 'vitest';
import { makeEndorser, type TestEndorser, testEndorserKeys } from '../../sev/src/testing/endorsements.js';
import { makeReport } from '../../sev/src/testing/reports.js';
import { type Recognised, recognise } from './files.js';
import { verifyFiles } from './verify.js';

let endorser: TestEndorser;
beforeAll(async () => {
  endorser = await makeEndorser('Milan', testEndorserKeys());
});

const wishes = {
  at: Date.UTC(2026, 2, 15),
  allowDebug: false,
  allowMigrationAgent: false,
  allowProvisional: false,
  trustDevelopmentRoot: true,
};
const newReport = async () => recognise(await makeReport(endorser.vekKey, {}));
const policy: Recognised = { kind: 'policy', policy: { expectations: {} } };

it('has no verdict without a report', async () => {
  expect(await verifyFiles([policy], wishes)).toBeUndefined();
});

it('has no verdict over one of two reports, or by one of two policies', async () => {
  const report = await newReport();
  expect(report.kind).toBe('report');
  expect((await verifyFiles([report, policy], wishes))?.checks.length).toBeGreaterThan(10);
  await expect(verifyFiles([report, await newReport()], wishes)).rejects.toThrow(
    'expected one report, found 2',
  );
  await expect(verifyFiles([report, policy, policy], wishes)).rejects.toThrow(InvalidArgumentError);
});

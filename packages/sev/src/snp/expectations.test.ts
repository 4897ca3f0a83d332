import { beforeAll, describe, expect, test } from 'vitest';
import { verdict } from '../appraisal/appraisal.js';
import { InvalidArgumentError } from '../errors.js';
import { makeEndorser, type TestEndorser, testEndorserKeys, vekOf } from '../testing/endorsements.js';
import { filled, makeReport, type TestReport, verifyWith } from '../testing/reports.js';
import type { X509Certificate } from '../x509/certificate.js';
import type { ReportExpectations } from './expectations.js';
import { type ReportExpectationCheck, reportExpectationChecks } from './report-checks.js';

let milan: TestEndorser;
let turin: TestEndorser;
let vceks: Record<'Milan' | 'Turin', X509Certificate>;
let vlek: X509Certificate;
beforeAll(async () => {
  const keys = testEndorserKeys();
  [milan, turin] = await Promise.all([makeEndorser('Milan', keys), makeEndorser('Turin', keys)]);
  vceks = { Milan: await milan.vek('VCEK'), Turin: await turin.vek('VCEK') };
  vlek = await milan.vek('VLEK');
});

type Row = readonly [
  id: ReportExpectationCheck,
  met: ReportExpectations,
  missed: ReportExpectations,
  report?: TestReport,
];

const milanChip = vekOf('VCEK', 'Milan').hwid!;
const turinChip = vekOf('VCEK', 'Turin').hwid!;
const noIdBlock: TestReport = {
  authorKeyEnabled: false,
  fields: { idKeyDigest: filled(48, 0), authorKeyDigest: filled(48, 0) },
};
const masked: TestReport = { fields: { chipId: filled(64, 0) } };
const floor = (which: string, tcb: object): ReportExpectations => ({ minimumTcb: { [which]: tcb } });
const policy = (name: string, set: boolean): ReportExpectations => ({ policy: { [name]: set } });
const platform = (name: string, set: boolean): ReportExpectations => ({ platformInfo: { [name]: set } });

/** What passes and what fails, for the report of `testing/reports.ts` or one that is changed. */
const rows: readonly Row[] = [
  ['report.data', { reportData: filled(64, 0xda) }, { reportData: filled(64, 0xdb) }],
  [
    'report.measurement',
    { measurements: [filled(48, 1), filled(48, 0x3e)] },
    { measurements: [filled(48, 1), filled(48, 0x3f)] },
  ],
  ['report.measurement', { measurements: [filled(48, 0x3e)] }, { measurements: [] }],
  ['report.host-data', { hostData: filled(32, 5) }, { hostData: filled(32, 6) }],
  ['report.id-key', { idKeyDigests: [filled(48, 0x1d)] }, { idKeyDigests: [filled(48, 0x1e)] }],
  ['report.author-key', { authorKeyDigests: [filled(48, 0xa0)] }, { authorKeyDigests: [filled(48, 0xa1)] }],
  ['report.family-id', { familyId: filled(16, 0xfa) }, { familyId: filled(16, 0xfb) }],
  ['report.image-id', { imageId: filled(16, 0x1a) }, { imageId: filled(16, 0x1b) }],
  ['report.guest-svn', { minimumGuestSvn: 5 }, { minimumGuestSvn: 6 }],
  ['report.vmpl', { vmpl: 1 }, { vmpl: 0 }],
  ['report.vmpl', { vmpl: 1 }, { vmpl: 2 }],
  ['report.signing-key', { signingKey: 'VCEK' }, { signingKey: 'VLEK' }],
  ['report.version', { minimumReportVersion: 5 }, { minimumReportVersion: 6 }],
  ['report.report-id', { reportId: filled(32, 0x21) }, { reportId: filled(32, 0x22) }],
  ['report.report-id-ma', { reportIdMa: filled(32, 0xff) }, { reportIdMa: filled(32, 0xfe) }],
  ['report.chip-allowed', { chipIds: [filled(64, 1), milanChip] }, { chipIds: [filled(64, 1)] }],
  ['report.chip-allowed', { chipIds: [turinChip] }, { chipIds: [filled(8, 1)] }, { line: 'Turin' }],
  ['report.chip-denied', { deniedChipIds: [filled(64, 1)] }, { deniedChipIds: [filled(64, 1), milanChip] }],
  [
    'report.chip-denied',
    { deniedChipIds: [filled(8, 1)] },
    { deniedChipIds: [turinChip] },
    { line: 'Turin' },
  ],
  // The certificate names the chip that the report does not.
  ['report.chip-denied', { deniedChipIds: [filled(64, 1)] }, { deniedChipIds: [milanChip] }, masked],
  ['vek.allowed-line', { productLines: ['Genoa', 'Milan'] }, { productLines: ['Genoa', 'Turin'] }],
  ['vek.allowed-line', { productLines: ['Milan'] }, { productLines: [] }],
  [
    'vek.csp-id',
    { cspIds: ['CN=cc-test.vouchsafe.invalid'] },
    { cspIds: ['CN=other'] },
    { signingKey: 'VLEK' },
  ],
  ['policy.abi', { minimumAbi: { major: 1, minor: 51 } }, { minimumAbi: { major: 1, minor: 52 } }],
  ['policy.abi', { minimumAbi: { major: 0, minor: 99 } }, { minimumAbi: { major: 2, minor: 0 } }],
  ['policy.smt', policy('smt', true), policy('smt', false)],
  ['policy.migration-agent', policy('migrationAgent', false), policy('migrationAgent', true)],
  ['policy.debug', policy('debug', false), policy('debug', true)],
  ['policy.single-socket', policy('singleSocket', false), policy('singleSocket', true)],
  ['policy.cxl', policy('cxlAllowed', true), policy('cxlAllowed', false), { policy: { cxlAllowed: true } }],
  [
    'policy.aes-256-xts',
    policy('aes256Xts', true),
    policy('aes256Xts', false),
    { policy: { aes256Xts: true } },
  ],
  ['policy.rapl', policy('raplDisabled', false), policy('raplDisabled', true)],
  ['policy.ciphertext-hiding', policy('ciphertextHiding', false), policy('ciphertextHiding', true)],
  ['policy.page-swap', policy('pageSwapDisabled', false), policy('pageSwapDisabled', true)],
  ['tcb.reported', floor('reported', { snp: 24, microcode: 217 }), floor('reported', { microcode: 218 })],
  ['tcb.reported', floor('reported', { fmc: 1 }), floor('reported', { fmc: 2 }), { line: 'Turin' }],
  ['tcb.reported', floor('reported', { tee: 0 }), floor('reported', { fmc: 0 })],
  [
    'tcb.committed',
    floor('committed', { snp: 24, bootloader: 4 }),
    floor('committed', { snp: 24, bootloader: 5 }),
  ],
  [
    'tcb.launch',
    floor('launch', { snp: 20 }),
    floor('launch', { snp: 21 }),
    { tcbs: { launchTcb: { snp: 20 } } },
  ],
  ['tcb.current', floor('current', { microcode: 217 }), floor('current', { tee: 1 })],
  ['firmware.build', { minimumBuild: 29 }, { minimumBuild: 30 }],
  [
    'firmware.version',
    { minimumVersion: { major: 1, minor: 55 } },
    { minimumVersion: { major: 1, minor: 56 } },
  ],
  [
    'firmware.version',
    { minimumVersion: { major: 0, minor: 99 } },
    { minimumVersion: { major: 2, minor: 0 } },
  ],
  ['mitigations.launch', { mitigations: { launch: 0x0an } }, { mitigations: { launch: 0x0fn } }],
  ['mitigations.current', { mitigations: { current: 0x0fn } }, { mitigations: { current: 0x1fn } }],
  ['platform.smt', platform('smtEnabled', true), platform('smtEnabled', false)],
  ['platform.tsme', platform('tsmeEnabled', false), platform('tsmeEnabled', true)],
  ['platform.ecc', platform('eccEnabled', true), platform('eccEnabled', false)],
  ['platform.rapl', platform('raplDisabled', false), platform('raplDisabled', true)],
  [
    'platform.ciphertext-hiding',
    platform('ciphertextHidingEnabled', false),
    platform('ciphertextHidingEnabled', true),
  ],
  ['platform.alias-check', platform('aliasCheckComplete', true), platform('aliasCheckComplete', false)],
  ['platform.tio', platform('tioEnabled', false), platform('tioEnabled', true)],
];

async function verify(report: TestReport, expectations: ReportExpectations) {
  const { line = 'Milan', signingKey } = report;
  const endorser = line === 'Turin' ? turin : milan;
  const vek = signingKey === 'VLEK' ? vlek : vceks[line === 'Turin' ? 'Turin' : 'Milan'];
  return verifyWith(endorser, await makeReport(endorser.vekKey, report), { vek, expectations });
}

describe('each expectation is one check', () => {
  test.each(rows.map((row, i) => [i, ...row] as const))(
    'row %i: %s',
    async (_i, id, met, missed, report = {}) => {
      const passed = await verify(report, met);
      const statuses = passed.checks
        .filter(({ kind }) => kind === 'expectation')
        .map(({ id: each, status }) => [each, status]);
      const others = Object.keys(reportExpectationChecks).map((each) => [
        each,
        each === id ? 'pass' : 'not-asked',
      ]);
      expect(statuses).toEqual(others);
      expect(verdict(passed)).toMatchObject({ accepted: true, word: 'accepted' });
      const { failed } = verdict(await verify(report, missed));
      expect(failed.map((each) => each.id)).toEqual([id]);
      expect(failed[0]!.expected).not.toBe(failed[0]!.found);
      expect(failed[0]!.hint).toBeTruthy();
    },
  );

  test.each<readonly [ReportExpectationCheck, ReportExpectations, TestReport]>([
    ['report.id-block', { requireIdBlock: true }, noIdBlock],
    ['report.author-key-enabled', { requireAuthorKey: true }, noIdBlock],
    ['report.author-key-enabled', { requireAuthorKey: true }, { authorKeyEnabled: false }],
    [
      'report.author-key-enabled',
      { requireAuthorKey: true },
      { authorKeyEnabled: true, fields: { authorKeyDigest: filled(48, 0) } },
    ],
    ['report.chip-id', { requireChipId: true }, masked],
    ['report.chip-allowed', { chipIds: [milanChip] }, masked],
    ['report.chip-denied', { deniedChipIds: [filled(64, 9)] }, { ...masked, signingKey: 'VLEK' }],
    ['vek.csp-id', { cspIds: ['CN=cc-test.vouchsafe.invalid'] }, {}],
  ])('%s is refused where the report lacks it', async (id, expectations, report) => {
    expect(verdict(await verify(report, expectations)).failed.map((each) => each.id)).toEqual([id]);
  });

  test('an ID key that is not listed passes under an author key that is', async () => {
    const asked = { idKeyDigests: [filled(48, 0x1e)], authorKeyDigests: [filled(48, 0xa0)] };
    expect(verdict(await verify({}, asked)).word).toBe('accepted');
    const failed = async (report: TestReport, changed: ReportExpectations) =>
      verdict(await verify(report, { ...asked, ...changed })).failed.map(({ id }) => id);
    expect(await failed({}, { authorKeyDigests: undefined })).toEqual(['report.id-key']);
    expect(await failed({}, { authorKeyDigests: [filled(48, 0xa1)] })).toEqual([
      'report.id-key',
      'report.author-key',
    ]);
    // Without the flag the chip says nothing of an author, whatever the field holds.
    expect(await failed({ authorKeyEnabled: false }, {})).toEqual(['report.id-key']);
  });

  test('what must be there passes where it is', async () => {
    const there = { requireIdBlock: true, requireAuthorKey: true, requireChipId: true };
    expect(verdict(await verify({}, there))).toMatchObject({ word: 'accepted', failed: [] });
    const unasked = {
      requireIdBlock: false,
      requireAuthorKey: false,
      requireChipId: false,
      deniedChipIds: [],
    };
    expect(verdict(await verify({ ...noIdBlock, ...masked }, unasked)).word).toBe('authentic');
  });

  test('mitigation vectors of a report that is too old to have them', async () => {
    const appraisal = await verify({ version2: true }, { mitigations: { launch: 0n, current: 0n } });
    expect(verdict(appraisal).failed.map(({ id }) => id)).toEqual([
      'mitigations.launch',
      'mitigations.current',
    ]);
  });

  test('one that was not asked says how to ask', async () => {
    const { checks } = await verify({}, {});
    for (const { kind, hint } of checks) if (kind === 'expectation') expect(hint).toMatch(/^ask with /);
  });
});

test.each<[string, ReportExpectations]>([
  ['reportData', { reportData: filled(63, 1) }],
  ['measurements', { measurements: [filled(48, 1), filled(32, 1)] }],
  ['hostData', { hostData: filled(33, 1) }],
  ['idKeyDigests', { idKeyDigests: [filled(47, 1)] }],
  ['idKeyDigests', { idKeyDigests: [filled(48, 0)] }],
  ['authorKeyDigests', { authorKeyDigests: [filled(48, 0)] }],
  ['familyId', { familyId: filled(32, 1) }],
  ['chipIds', { chipIds: [filled(16, 1)] }],
  ['chipIds', { chipIds: [filled(64, 0)] }],
  ['deniedChipIds', { deniedChipIds: [filled(8, 0)] }],
  ['productLines', { productLines: ['Naples' as 'Milan'] }],
  ['vmpl', { vmpl: 4 }],
  ['vmpl', { vmpl: 0xffff_ffff }],
  ['minimumGuestSvn', { minimumGuestSvn: -1 }],
  ['minimumGuestSvn', { minimumGuestSvn: Number.NaN }],
  ['minimumBuild', { minimumBuild: 256 }],
  ['minimumAbi.minor', { minimumAbi: { major: 1, minor: 0.5 } }],
  ['minimumVersion.major', { minimumVersion: { major: 256, minor: 0 } }],
  ['minimumTcb.launch', { minimumTcb: { launch: {} } }],
  ['minimumTcb.current.snp', { minimumTcb: { current: { snp: 256 } } }],
  ['mitigations.launch', { mitigations: { launch: -1n } }],
  ['mitigations.current', { mitigations: { current: 1n << 64n } }],
])('an expectation that cannot be meant is an error of the caller: %s', async (argument, expectations) => {
  const error = await verify({}, expectations).catch((each: unknown) => each);
  expect(error).toBeInstanceOf(InvalidArgumentError);
  expect(error).toMatchObject({ argument });
});

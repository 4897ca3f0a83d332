import { beforeAll, describe, expect, test } from 'vitest';
import { type Appraisal, verdict } from '../appraisal/appraisal.js';
import { day, makeEndorser, type TestEndorser, testEndorserKeys } from '../testing/endorsements.js';
import { filled, makeReport, type TestReport, verifyWith } from '../testing/reports.js';
import type { NewExtension } from '../x509/extension.js';
import { buildCertificateTable, certificateTableGuids } from './certificate-table.js';
import type { ReportExpectations } from './expectations.js';
import type { Vek } from './vek-certificate.js';
import { snpReportChecks, verifyReport } from './verify-report.js';

let milan: TestEndorser;
let genoa: TestEndorser;
let turin: TestEndorser;
beforeAll(async () => {
  const keys = testEndorserKeys();
  [milan, genoa, turin] = await Promise.all([
    makeEndorser('Milan', keys),
    makeEndorser('Genoa', keys),
    makeEndorser('Turin', keys),
  ]);
});

const failed = (appraisal: Appraisal) => verdict(appraisal).failed.map(({ id }) => id);
const check = (appraisal: Appraisal, id: string) => appraisal.checks.find((each) => each.id === id)!;

describe('a report with nothing wrong', () => {
  test.each(['Milan', 'Genoa', 'Turin'] as const)('of %s is authentic', async (line) => {
    const endorser = { Milan: milan, Genoa: genoa, Turin: turin }[line];
    const appraisal = await verifyWith(endorser, await makeReport(endorser.vekKey, { line }));
    expect(verdict(appraisal)).toEqual({ accepted: true, word: 'authentic', failed: [] });
    expect(appraisal.root).toMatchObject({ kind: 'development', name: `Vouchsafe Development, ${line}` });
    expect(appraisal.checks.map(({ id }) => id)).toEqual(Object.keys(snpReportChecks));
  });

  test('by a VLEK, with its chip id masked', async () => {
    const report = await makeReport(milan.vekKey, { signingKey: 'VLEK', fields: { chipId: filled(64, 0) } });
    const appraisal = await verifyWith(milan, report, { kind: 'VLEK' });
    expect(verdict(appraisal).word).toBe('authentic');
    expect(check(appraisal, 'vek.hardware-id')).toMatchObject({ status: 'not-asked' });
  });

  test('by a VCEK, with its chip id masked, says so by name', async () => {
    const report = await makeReport(milan.vekKey, { fields: { chipId: filled(64, 0) } });
    const appraisal = await verifyWith(milan, report);
    expect(verdict(appraisal).word).toBe('authentic');
    const { status, hint } = check(appraisal, 'vek.hardware-id');
    expect([status, hint]).toEqual(['not-asked', expect.stringContaining('masks the chip id')]);
  });

  test('of version 2, whose processor the certificate names', async () => {
    for (const [endorser, line] of [
      [milan, 'Milan'],
      [turin, 'Turin'],
    ] as const) {
      const report = await makeReport(endorser.vekKey, { line, version2: true });
      expect(verdict(await verifyWith(endorser, report)).word).toBe('authentic');
    }
  });

  test('of a processor that is not known yet takes the certificate’s product line', async () => {
    const report = await makeReport(turin.vekKey, { line: 'Turin', fields: { cpuidModel: 0xff } });
    const appraisal = await verifyWith(turin, report);
    expect(verdict(appraisal).accepted).toBe(true);
    expect(check(appraisal, 'vek.product-line').found).toContain('no product line is known');
  });
});

describe('hostile evidence is refused at its check, and there alone', () => {
  const otherTcbs: [string, Partial<Vek['tcb']>][] = (
    ['bootloader', 'tee', 'snp', 'microcode'] as const
  ).flatMap((name) => {
    const value = { bootloader: 4, tee: 0, snp: 24, microcode: 217 }[name];
    const lower: [string, Partial<Vek['tcb']>][] =
      value === 0 ? [] : [[`lower ${name}`, { [name]: value - 1 }]];
    return [...lower, [`higher ${name}`, { [name]: value + 1 }]];
  });
  const milanTcb = { bootloader: 4, tee: 0, snp: 24, microcode: 217 };

  test.each(otherTcbs)('a VEK for a %s than reported', async (_what, change) => {
    const vek = await milan.vek('VCEK', undefined, { tcb: { ...milanTcb, ...change } });
    const appraisal = await verifyWith(milan, await makeReport(milan.vekKey), { vek });
    expect(failed(appraisal)).toEqual(['vek.tcb']);
    expect(appraisal.root).toBeUndefined();
  });

  test('a VEK of Turin for another first mutable code', async () => {
    const vek = await turin.vek('VCEK', undefined, { tcb: { fmc: 2, ...milanTcb } });
    const report = await makeReport(turin.vekKey, { line: 'Turin' });
    expect(failed(await verifyWith(turin, report, { vek }))).toEqual(['vek.tcb']);
  });

  test.each([
    ['Milan', 64, 0],
    ['Milan', 64, 63],
    ['Turin', 8, 0],
    ['Turin', 8, 7],
  ] as const)(
    'report and VEK of different chips of %s (%i bytes, differing in byte %i)',
    async (line, length, at) => {
      const endorser = line === 'Milan' ? milan : turin;
      const hwid = Uint8Array.from({ length }, (_, i) => (i === at ? 0xee : i + 1));
      const vek = await endorser.vek('VCEK', undefined, { hwid });
      const appraisal = await verifyWith(endorser, await makeReport(endorser.vekKey, { line }), { vek });
      expect(failed(appraisal)).toEqual(['vek.hardware-id']);
      expect(appraisal.root).toBeUndefined();
    },
  );

  test('a VEK of another product line', async () => {
    const appraisal = await verifyWith(genoa, await makeReport(genoa.vekKey, { line: 'Milan' }));
    expect(failed(appraisal)).toEqual(['vek.product-line']);
    expect(appraisal.root).toBeUndefined();
    const other = await verifyWith(turin, await makeReport(turin.vekKey, { line: 'Milan' }));
    expect(failed(other)).toEqual(['vek.product-line', 'vek.tcb', 'vek.hardware-id']);
    const old = await verifyWith(turin, await makeReport(turin.vekKey, { line: 'Milan', version2: true }));
    expect(failed(old)).toContain('vek.product-line');
  });

  test.each([
    ['VLEK', 'VCEK'],
    ['VCEK', 'VLEK'],
  ] as const)('a %s where the report names a %s', async (kind, signingKey) => {
    const appraisal = await verifyWith(milan, await makeReport(milan.vekKey, { signingKey }), { kind });
    expect(failed(appraisal)).toEqual(['vek.signing-key']);
    expect(appraisal.root).toBeUndefined();
  });

  test.each([
    ['VLEK', 'VCEK'],
    ['VCEK', 'VLEK'],
  ] as const)('a %s where a %s is required', async (kind, signingKey) => {
    const report = await makeReport(milan.vekKey, { signingKey: kind });
    const appraisal = await verifyWith(milan, report, { kind, expectations: { signingKey } });
    expect(failed(appraisal)).toEqual(['report.signing-key']);
  });

  test('a report that nobody signed, and one that somebody else signed', async () => {
    const unsigned = await verifyWith(milan, await makeReport(milan.vekKey, { signingKey: 'none' }));
    expect(failed(unsigned)).toEqual(['vek.signing-key', 'report.signature']);
    const stranger = await verifyWith(milan, await makeReport(genoa.vekKey));
    expect(failed(stranger)).toEqual(['report.signature']);
    expect(stranger.root).toBeUndefined();
  });

  test.each([
    ['VCEK', 'ask'],
    ['VLEK', 'asvk'],
  ] as const)('a %s under a revoked signing key', async (kind, signer) => {
    const { serial } = milan[signer];
    const list = await milan.crl((fields) => ({
      ...fields,
      revoked: [{ serial, revokedAt: day('2026-02-20') }],
    }));
    const report = await makeReport(milan.vekKey, { signingKey: kind });
    for (const revocation of ['require', 'if-available'] as const) {
      const appraisal = await verifyWith(milan, report, { kind, revocation, crls: [list.raw] });
      expect(failed(appraisal)).toEqual(['endorsement.revocation']);
      expect(appraisal.root).toBeUndefined();
    }
  });

  test('a stale list, or none, where one is required', async () => {
    const report = await makeReport(milan.vekKey);
    const { raw } = await milan.crl((fields) => ({ ...fields, nextUpdate: day('2026-03-10') }));
    for (const crls of [[raw], []]) {
      const appraisal = await verifyWith(milan, report, { revocation: 'require', crls });
      expect(failed(appraisal)).toContain('endorsement.revocation-list');
      expect(verdict(await verifyWith(milan, report, { revocation: 'if-available', crls })).accepted).toBe(
        true,
      );
    }
  });

  test('an expired VEK', async () => {
    const appraisal = await verifyWith(milan, await makeReport(milan.vekKey), { at: day('2034-01-01') });
    expect(failed(appraisal)).toEqual(['endorsement.vek.validity']);
  });

  test('a root that is not trusted', async () => {
    const appraisal = await verifyWith(milan, await makeReport(milan.vekKey), { roots: [genoa.root] });
    expect(failed(appraisal)[0]).toBe('endorsement.ark.root');
    expect(appraisal.root).toBeUndefined();
  });

  test.each<[string, string, TestReport, 'allowDebug' | 'allowMigrationAgent' | 'allowProvisional']>([
    ['a guest that can be debugged', 'guest.debug', { policy: { debug: true } }, 'allowDebug'],
    [
      'a bound migration agent',
      'guest.migration-agent',
      { fields: { reportIdMa: filled(32, 0x77) } },
      'allowMigrationAgent',
    ],
    [
      'a migration agent of zeros',
      'guest.migration-agent',
      { fields: { reportIdMa: filled(32, 0) } },
      'allowMigrationAgent',
    ],
    [
      'firmware whose microcode is not committed',
      'firmware.committed',
      { tcbs: { currentTcb: { microcode: 218 } } },
      'allowProvisional',
    ],
    [
      'a firmware build that is not committed',
      'firmware.committed',
      { fields: { committedBuild: 28 } },
      'allowProvisional',
    ],
    [
      'a firmware minor that is not committed',
      'firmware.committed',
      { fields: { committedMinor: 54 } },
      'allowProvisional',
    ],
    [
      'a firmware major that is not committed',
      'firmware.committed',
      { fields: { committedMajor: 0 } },
      'allowProvisional',
    ],
  ])('%s, unless it is allowed by name', async (_what, id, report, allowance) => {
    const bytes = await makeReport(milan.vekKey, report);
    const refused = await verifyWith(milan, bytes);
    expect(failed(refused)).toEqual([id]);
    expect(refused.root?.kind).toBe('development');
    const others = {
      allowDebug: true,
      allowMigrationAgent: true,
      allowProvisional: true,
      [allowance]: false,
    };
    expect(failed(await verifyWith(milan, bytes, others))).toEqual([id]);
    expect(verdict(await verifyWith(milan, bytes, { [allowance]: true })).word).toBe('authentic');
  });

  test('a report that the host asked for, whatever is allowed', async () => {
    const report = await makeReport(milan.vekKey, { fields: { vmpl: 0xffff_ffff } });
    const everything = { allowDebug: true, allowMigrationAgent: true, allowProvisional: true };
    expect(failed(await verifyWith(milan, report, everything))).toEqual(['guest.requester']);
  });

  test.each<[string, TestReport]>([
    ['reported TCB', { tcbs: { currentTcb: { microcode: 216 }, committedTcb: { microcode: 216 } } }],
    ['committed TCB', { tcbs: { committedTcb: { snp: 25 } } }],
    ['committed version', { fields: { committedBuild: 30 } }],
  ])('a %s newer than what runs', async (_what, report) => {
    const appraisal = await verifyWith(milan, await makeReport(milan.vekKey, report), {
      allowProvisional: true,
    });
    expect(failed(appraisal)).toEqual(['firmware.order']);
  });

  test.each<[string, (extensions: readonly NewExtension[]) => readonly NewExtension[]]>([
    ['a duplicate', (all) => [...all, all[3]!]],
    ['a missing', (all) => all.filter((_, i) => i !== 3)],
    ['an extra', (all) => [...all, { oid: '1.3.6.1.4.1.3704.1.9', value: Uint8Array.of(2, 1, 0) }]],
    ['an oversized', (all) => all.map((each, i) => (i === 3 ? { ...each, value: filled(200, 2) } : each))],
  ])('%s extension in a VEK', async (_what, change) => {
    const vek = await milan.vek('VCEK', (fields) => ({ ...fields, extensions: change(fields.extensions) }));
    const appraisal = await verifyWith(milan, await makeReport(milan.vekKey), { vek });
    expect(failed(appraisal)).toContain('endorsement.vek.extensions');
    expect(appraisal.root).toBeUndefined();
  });

  test.each<[string, (der: Uint8Array) => Uint8Array]>([
    ['trailing bytes', (der) => Uint8Array.of(...der, 0)],
    ['a length that lies', (der) => der.map((byte, i) => (i === 3 ? byte + 1 : byte))],
    ['an indefinite length', (der) => Uint8Array.of(0x30, 0x80, ...der.subarray(4), 0, 0)],
    ['a length that is not minimal', (der) => Uint8Array.of(0x30, 0x83, 0, ...der.subarray(2))],
    ['nothing', () => new Uint8Array()],
  ])('a VEK with %s', async (_what, change) => {
    const vek = change((await milan.vek('VCEK')).raw);
    const certificates = [milan.ask.raw, milan.ark.raw];
    const report = await makeReport(milan.vekKey);
    const appraisal = await verifyReport({ report, vek, certificates }, optionsOf());
    expect(failed(appraisal)[0]).toBe('endorsement.files');
    expect(check(appraisal, 'endorsement.files').found).not.toContain('undefined');
    expect(appraisal.root).toBeUndefined();
  });

  test('no VEK, or two of them', async () => {
    const report = await makeReport(milan.vekKey);
    const none = await verifyReport({ report, certificates: [milan.ask.raw, milan.ark.raw] }, optionsOf());
    expect(check(none, 'endorsement.files')).toMatchObject({
      status: 'fail',
      hint: expect.stringContaining('--vek'),
    });
    expect(check(none, 'report.signature').status).toBe('fail');
    const veks = [(await milan.vek('VCEK')).raw, (await genoa.vek('VCEK')).raw];
    const two = await verifyReport(
      { report, certificates: [...veks, milan.ask.raw, milan.ark.raw] },
      optionsOf(),
    );
    expect(check(two, 'endorsement.files')).toMatchObject({ status: 'fail', hint: 'give one' });
  });

  test('a report that is not one', async () => {
    const report = (await makeReport(milan.vekKey)).subarray(1);
    const appraisal = await verifyWith(milan, report);
    expect(failed(appraisal)[0]).toBe('report.format');
    expect(verdict(appraisal).accepted).toBe(false);
  });
});

const optionsOf = () => ({ roots: [milan.root], at: day('2026-03-15'), revocation: 'skip' as const });

describe('certificates of the host’s table', () => {
  test('verify a report; those of the kind that signed are taken', async () => {
    const table = buildCertificateTable([
      { guid: certificateTableGuids.ARK, bytes: milan.ark.raw },
      { guid: certificateTableGuids.ASK, bytes: milan.asvk.raw },
      { guid: certificateTableGuids.VCEK, bytes: (await genoa.vek('VCEK')).raw },
      { guid: certificateTableGuids.VLEK, bytes: (await milan.vek('VLEK')).raw },
    ]);
    const report = await makeReport(milan.vekKey, { signingKey: 'VLEK' });
    const appraisal = await verifyReport({ report, certificateTable: table }, optionsOf());
    expect(verdict(appraisal).word).toBe('authentic');
  });

  test('are refused when entries overlap or point outside', async () => {
    const entries = [
      { guid: certificateTableGuids.ARK, bytes: milan.ark.raw },
      { guid: certificateTableGuids.VCEK, bytes: (await milan.vek('VCEK')).raw },
    ];
    const report = await makeReport(milan.vekKey);
    for (const offset of [milan.ark.raw.length + 60, 0x7fff_ffff]) {
      const table = buildCertificateTable(entries);
      new DataView(table.buffer).setUint32(24 + 16, offset, true);
      const appraisal = await verifyReport(
        { report, certificateTable: table, certificates: [milan.ask.raw] },
        optionsOf(),
      );
      expect(failed(appraisal)[0]).toBe('endorsement.files');
    }
  });
});

describe('bits of PLATFORM_INFO that nobody knows', () => {
  const edit = (bytes: Uint8Array) => {
    bytes[0x40]! |= 0x40;
    bytes[0x47]! |= 0x80;
  };

  test('are reported and not refused', async () => {
    const appraisal = await verifyWith(milan, await makeReport(milan.vekKey, { edit }));
    expect(verdict(appraisal).accepted).toBe(true);
    expect(check(appraisal, 'platform.unknown-bits').status).toBe('not-asked');
  });

  test('are refused when asked', async () => {
    const expectations: ReportExpectations = { refuseUnknownPlatformBits: true };
    const appraisal = await verifyWith(milan, await makeReport(milan.vekKey, { edit }), { expectations });
    expect(failed(appraisal)).toEqual(['platform.unknown-bits']);
    expect(check(appraisal, 'platform.unknown-bits').found).toBe('0x8000000000000040');
    expect(verdict(await verifyWith(milan, await makeReport(milan.vekKey), { expectations })).word).toBe(
      'accepted',
    );
  });
});

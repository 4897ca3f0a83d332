import { describe, expect, test } from 'vitest';
import { describeWithVectors, vectors } from '../testing/vectors.js';
import { parseSnpReport, type SnpAttestationReport } from './attestation-report.js';
import { describeSnpReport } from './report-description.js';
import { snpReports } from './report-layout.js';
import type { SignerInfo } from './signer-info.js';

const read = (name: string) => parseSnpReport(vectors(`snp/reports/${name}.bin`));
const surprisesOf = (report: SnpAttestationReport) =>
  Object.fromEntries(
    describeSnpReport(report).flatMap(({ label, surprising }) => (surprising ? [[label, surprising]] : [])),
  );
const noIdBlock = expect.stringMatching(/^no ID block/) as string;

describeWithVectors('real reports, in words', () => {
  test('a debug guest', () => {
    expect(surprisesOf(read('milan-v2-debug'))).toEqual({
      POLICY: 'DEBUG: the host can read and change all of the guest’s memory',
      ID_KEY_DIGEST: noIdBlock,
    });
  });

  test('a guest under an ID block, on provisional firmware', () => {
    expect(surprisesOf(read('milan-v2-idblock'))).toMatchObject({
      CURRENT_TCB: expect.stringMatching(/^above COMMITTED_TCB in .*provisional/) as string,
    });
    expect(surprisesOf(read('milan-v2-idblock'))).not.toHaveProperty('ID_KEY_DIGEST');
  });

  test('a cloud operator’s key, provisional microcode, a masked chip, a lower privilege level', () => {
    const report = read('milan-v3-vlek-aws');
    expect(surprisesOf(report)).toEqual({
      VMPL: expect.stringContaining('not the guest’s highest privilege level') as string,
      CURRENT_TCB:
        'above COMMITTED_TCB in microcode (220, not 219): provisional firmware, which the host can still roll back',
      ID_KEY_DIGEST: noIdBlock,
      CHIP_ID: expect.stringContaining('masked by the host') as string,
    });
    const value = (label: string) => describeSnpReport(report).find((row) => row.label === label)?.value;
    expect(value('SIGNER_INFO')).toBe('signed by VLEK');
    expect(value('REPORTED_TCB')).toBe('bootloader 4, tee 0, snp 24, microcode 217');
    expect(value('CPUID_FAM_ID, CPUID_MOD_ID, CPUID_STEP')).toBe(
      'family 0x19, model 0x1, stepping 1: Milan or Milan-X, product line Milan',
    );
  });

  test('a Turin with a bit that nobody documents, and no nonce', () => {
    expect(surprisesOf(read('turin-v5-azure'))).toEqual({
      PLATFORM_INFO: 'bits without a published meaning: 0x40 (every Turin seen sets 0x40)',
      REPORT_DATA: expect.stringMatching(/^zero/) as string,
    });
  });

  test('details say what the bits of policy and platform mean', () => {
    const rows = describeSnpReport(read('genoa-v5-siena'));
    const details = (label: string) => rows.find((row) => row.label === label)?.details;
    expect(details('POLICY')).toContain('DEBUG not set: the host cannot debug the guest');
    expect(details('PLATFORM_INFO')?.[0]).toBe('SMT_EN set: simultaneous multithreading is on');
    expect(details('PLATFORM_INFO')?.at(-1)).toMatch(/^not set: .*TIO_EN/);
  });

  test.each([
    ['milan-v2-debug', snpReports.v2],
    ['milan-v3-oak', snpReports.v3],
    ['turin-v5-azure', snpReports.v5],
  ] as const)('%s: rows cover every byte that means something, in order', (name, layout) => {
    const covered = new Uint8Array(layout.size);
    const rows = describeSnpReport(read(name));
    for (const { offset, size } of rows) {
      for (let at = offset; at < offset + size; at++) covered[at]!++;
    }
    const means = new Uint8Array(layout.size);
    for (const row of Object.values(layout.fields)) {
      if (row.presence !== 'reserved') means.fill(1, row.offset, row.offset + row.size);
    }
    expect(covered).toEqual(means);
    expect(rows.map(({ offset }) => offset)).toEqual(
      rows.map(({ offset }) => offset).toSorted((a, b) => a - b),
    );
    for (const row of rows) {
      expect(row.label).not.toBe('');
      expect(row.meaning).not.toBe('');
      expect(row.value).not.toBe('');
    }
  });
});

const tcb = { bootloader: 4, tee: 0, snp: 24, microcode: 217 };
const plain = parseSnpReport(
  snpReports.v5.build({
    guestSvn: 0,
    policy: { ...snpReports.v5.parse(emptyReport()).policy, smt: true },
    familyId: new Uint8Array(16),
    imageId: new Uint8Array(16),
    vmpl: 0,
    signatureAlgorithm: 'ECDSA-P384-SHA384',
    currentTcb: new Uint8Array(8),
    platformInfo: snpReports.v5.parse(emptyReport()).platformInfo,
    signerInfo: snpReports.v5.parse(emptyReport()).signerInfo,
    reportData: new Uint8Array(64).fill(1),
    measurement: new Uint8Array(48).fill(1),
    hostData: new Uint8Array(32),
    idKeyDigest: new Uint8Array(48).fill(1),
    authorKeyDigest: new Uint8Array(48),
    reportId: new Uint8Array(32).fill(1),
    reportIdMa: new Uint8Array(32).fill(0xff),
    reportedTcb: new Uint8Array(8),
    chipId: new Uint8Array(64).fill(1),
    committedTcb: new Uint8Array(8),
    currentBuild: 1,
    currentMinor: 55,
    currentMajor: 1,
    committedBuild: 1,
    committedMinor: 55,
    committedMajor: 1,
    launchTcb: new Uint8Array(8),
    r: new Uint8Array(48).fill(1),
    s: new Uint8Array(48).fill(1),
    cpuidFamily: 0x19,
    cpuidModel: 1,
    cpuidStepping: 1,
    launchMitigationVector: 1n,
    currentMitigationVector: 3n,
  }),
);

/** The least that the layout reads: a version, and bit 17 of the policy. */
function emptyReport(): Uint8Array {
  const bytes = new Uint8Array(snpReports.v5.size);
  bytes[0] = 5;
  bytes[0x0a] = 2;
  return bytes;
}

describe('surprises', () => {
  test('has none where nothing is', () => {
    expect(surprisesOf(plain)).toEqual({});
  });

  const zero = (length: number) => new Uint8Array(length);
  const signer = (changes: Partial<SignerInfo>) => ({ signerInfo: { ...plain.signerInfo, ...changes } });
  test.each<[string, string, Partial<SnpAttestationReport>]>([
    ['VERSION', 'never published', { version: 4 }],
    ['VERSION', 'newer than any', { version: 6 }],
    ['POLICY', 'DEBUG', { policy: { ...plain.policy, debug: true } }],
    ['POLICY', 'migration agent', { policy: { ...plain.policy, migrationAgent: true } }],
    ['VMPL', 'highest', { vmpl: 1 }],
    ['VMPL', 'highest', { vmpl: 3 }],
    ['VMPL', 'the host asked', { vmpl: 0xffff_ffff }],
    ['CURRENT_TCB', 'provisional', { currentTcb: { ...plain.currentTcb, snp: 1 } }],
    ['PLATFORM_INFO', '0x100', { platformInfo: { ...plain.platformInfo, unknownBits: 0x100n } }],
    ['PLATFORM_INFO', 'TIO_EN', { version: 3, platformInfo: { ...plain.platformInfo, tioEnabled: true } }],
    ['SIGNER_INFO', 'nobody signed', { signerInfo: { ...plain.signerInfo, signingKey: 'none' } }],
    ['SIGNER_INFO', 'MASK_CHIP_KEY', { signerInfo: { ...plain.signerInfo, maskChipKey: true } }],
    ['REPORT_DATA', 'zero', { reportData: zero(64) }],
    ['MEASUREMENT', 'zero', { measurement: zero(48) }],
    ['ID_KEY_DIGEST', 'no ID block', { idKeyDigest: zero(48) }],
    ['ID_KEY_DIGEST', 'and yet', { idKeyDigest: zero(48), guestSvn: 1 }],
    ['ID_KEY_DIGEST', 'and yet', { idKeyDigest: zero(48), familyId: zero(16).fill(1) }],
    ['ID_KEY_DIGEST', 'and yet', { idKeyDigest: zero(48), imageId: zero(16).fill(1) }],
    ['AUTHOR_KEY_DIGEST', 'is not', { authorKeyDigest: zero(48).fill(1) }],
    ['AUTHOR_KEY_DIGEST', 'zero', { signerInfo: { ...plain.signerInfo, authorKeyEnabled: true } }],
    ['REPORT_ID_MA', 'migration agent is bound', { reportIdMa: zero(32) }],
    [
      'REPORT_ID_MA',
      'migration agent is bound',
      { reportIdMa: Uint8Array.from({ length: 32 }, (_, i) => (i === 31 ? 0xfe : 0xff)) },
    ],
    [
      'CPUID_FAM_ID, CPUID_MOD_ID, CPUID_STEP',
      'no product line',
      { cpuid: { family: 0x19, model: 0x50, stepping: 0 } },
    ],
    ['CHIP_ID', 'masked', { chipId: zero(64) }],
    ['CHIP_ID', 'longer', { tcbLayout: 'turin' }],
    ['LAUNCH_TCB', 'above CURRENT_TCB in snp (1, not 0)', { launchTcb: { ...plain.launchTcb, snp: 1 } }],
    ['CURRENT_MIT_VECTOR', '0x4', { launchMitigationVector: 5n }],
    ['SIGNATURE.S', 'zero', { signature: { r: zero(48), s: zero(48) } }],
  ])('%s: %s', (label, text, overrides) => {
    const surprises = surprisesOf({ ...plain, ...overrides });
    expect(Object.keys(surprises)).toEqual([label]);
    expect(surprises[label]).toContain(text);
  });

  test.each<[string, Partial<SnpAttestationReport>, string[]]>([
    ['a VLEK signs while the chip key is masked', signer({ maskChipKey: true, signingKey: 'VLEK' }), []],
    ['TIO_EN since version 5', { platformInfo: { ...plain.platformInfo, tioEnabled: true } }, []],
    [
      'no signature where nobody signed',
      { ...signer({ signingKey: 'none' }), signature: { r: zero(48), s: zero(48) } },
      ['SIGNER_INFO'],
    ],
  ])('has none for what belongs together: %s', (_title, overrides, labels) => {
    expect(Object.keys(surprisesOf({ ...plain, ...overrides }))).toEqual(labels);
  });

  test('of TCB versions that contradict each other', () => {
    const behind = surprisesOf({ ...plain, committedTcb: tcb });
    expect(behind['CURRENT_TCB']).toContain(
      'COMMITTED_TCB is above it in bootloader (4, not 0), snp (24, not 0)',
    );
    const higher = surprisesOf({ ...plain, reportedTcb: { ...plain.reportedTcb, tee: 1 } });
    expect(higher['REPORTED_TCB']).toContain('above COMMITTED_TCB in tee (1, not 0)');
    const older = surprisesOf({ ...plain, reportedTcb: tcb, committedTcb: tcb, currentTcb: tcb });
    expect(older).toEqual({ LAUNCH_TCB: expect.stringContaining('REPORTED_TCB is above it') as string });
  });

  test('of firmware versions that differ', () => {
    const later = { ...plain, currentVersion: { major: 1, minor: 55, build: 2 } };
    expect(Object.values(surprisesOf(later))).toEqual([
      expect.stringContaining('not the committed version 1.55.1'),
    ]);
  });

  test('of a newer version show its unknown bytes as rows', () => {
    const bytes = plain.raw.slice();
    bytes[0] = 6;
    bytes[0x208] = 0xaa;
    const rows = describeSnpReport(parseSnpReport(bytes, { acceptNewerVersions: true }));
    const row = rows.find(({ name }) => name === 'reserved208');
    expect(row).toMatchObject({ label: 'reserved', offset: 0x208, size: 152 });
    expect(row?.surprising).toContain('does not know');
    expect(rows.filter(({ label }) => label === 'reserved')).toHaveLength(1);
  });
});

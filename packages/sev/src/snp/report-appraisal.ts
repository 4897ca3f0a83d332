import type { Appraiser } from '../appraisal/appraisal.js';
import { equalBytes, toHex } from '../bytes.js';
import { type P384PublicKey, verifyP384 } from '../crypto/index.js';
import { VouchsafeError } from '../errors.js';
import {
  formatFirmwareVersion,
  hardwareIdOf,
  hostRequestedVmpl,
  isChipIdMasked,
  reportForLine,
  type SnpAttestationReport,
  signedBytesOfReport,
} from './attestation-report.js';
import type { ReportEvidenceCheck, ReportSafetyCheck } from './report-checks.js';
import { formatTcb, tcbAtLeast, tcbDifferences } from './tcb-version.js';
import type { Vek } from './vek-certificate.js';

/** What an owner may allow by name. */
export interface ReportAllowances {
  /** A guest whose memory the host can read and change: for tests only. */
  readonly allowDebug?: boolean | undefined;
  /** A migration agent that is bound to the guest. Appraise the agent's own report too. */
  readonly allowMigrationAgent?: boolean | undefined;
  /** Firmware that runs and is not committed: the host can still go back to the committed one. */
  readonly allowProvisional?: boolean | undefined;
}

type Reporter = Pick<Appraiser<ReportEvidenceCheck | ReportSafetyCheck>, 'report' | 'notAsked'>;

/** The report as the VEK's product line reads it, or as it reads itself where the two contradict each other. */
export function reportOnLine(report: SnpAttestationReport, vek: Vek, reporter: Reporter) {
  const expected = `a report of ${vek.line}, as the certificate says`;
  try {
    const read = reportForLine(report, vek.line);
    return {
      read,
      lineFits: reporter.report('vek.product-line', true, { expected, found: lineText(report) }),
    };
  } catch (error) {
    if (!(error instanceof VouchsafeError)) throw error;
    return {
      read: report,
      lineFits: reporter.report('vek.product-line', false, { expected, found: error.message }),
    };
  }
}

function lineText({ line, lineSource, cpuid }: SnpAttestationReport): string {
  if (lineSource === 'cpuid') return `a report of ${line}`;
  if (cpuid === undefined) return 'a report that does not say its processor and reads as one of that line';
  return `family ${cpuid.family}, model ${cpuid.model}, of which no product line is known`;
}

/** Reports every check that ties a report to the VEK that should have signed it. Gives whether all passed. */
export async function appraiseSignature(
  report: SnpAttestationReport,
  vek: Vek,
  publicKey: P384PublicKey,
  reporter: Reporter,
): Promise<boolean> {
  const { signature, signerInfo, reportedTcb } = report;
  const { signingKey } = signerInfo;
  // The signature is verified off this thread: everything else is done meanwhile.
  const verified = verifyP384(publicKey, 'sha384', signedBytesOfReport(report), signature);
  const kindFits = reporter.report('vek.signing-key', signingKey === vek.kind, {
    expected: signingKey === 'none' ? 'a key that signs' : `a ${signingKey}, which the report names`,
    found: signingKey === 'none' ? 'a report that says that it is not signed' : `a ${vek.kind}`,
  });
  const differences = tcbDifferences(vek.tcb, reportedTcb);
  const tcbFits = reporter.report('vek.tcb', differences.length === 0, {
    expected: `a certificate for ${formatTcb(reportedTcb)}`,
    found: `one for ${formatTcb(vek.tcb)}`,
  });
  const chipFits = appraiseHardwareId(report, vek, reporter);
  const valid = await verified;
  reporter.report('report.signature', valid, {
    expected: `a valid signature by the ${vek.kind}`,
    found: `the signature is ${valid ? 'valid' : 'not valid'}`,
  });
  return kindFits && tcbFits && chipFits && valid;
}

function appraiseHardwareId(report: SnpAttestationReport, { kind, hwid }: Vek, reporter: Reporter): boolean {
  if (hwid === undefined) {
    reporter.notAsked(
      'vek.hardware-id',
      `a ${kind} belongs to an operator, not to a chip: ask for the chips you want with chipIds`,
    );
    return true;
  }
  if (isChipIdMasked(report)) {
    reporter.notAsked(
      'vek.hardware-id',
      `the host masks the chip id; the certificate is of chip ${shortId(hwid)}: ask for unmasked ones with requireChipId`,
    );
    return true;
  }
  const found = hardwareIdOf(report);
  return reporter.report('vek.hardware-id', equalBytes(found, hwid), {
    expected: `chip ${shortId(hwid)}, of which the certificate is`,
    found: `chip ${shortId(found)}`,
  });
}

function shortId(id: Uint8Array): string {
  return id.length <= 8 ? toHex(id) : `${toHex(id.subarray(0, 8))}…`;
}

/** Reports what a careful owner would never want, unless it is allowed by name. */
export function appraiseSafety(
  report: SnpAttestationReport,
  allowances: ReportAllowances,
  reporter: Reporter,
): void {
  const { vmpl, policy, reportIdMa } = report;
  reporter.report('guest.requester', vmpl !== hostRequestedVmpl, {
    expected: 'the guest',
    found: vmpl === hostRequestedVmpl ? 'the host, VMPL 0xffffffff' : `the guest, VMPL ${vmpl}`,
  });
  const refusable = (
    id: ReportSafetyCheck,
    safe: boolean,
    allowed = false,
    words: readonly [string, string],
  ) => {
    const [expected, otherwise] = words;
    const found = safe ? expected : `${otherwise}${allowed ? ', which is allowed' : ''}`;
    reporter.report(id, safe || allowed, { expected: allowed ? `${expected}, or not` : expected, found });
  };
  refusable('guest.debug', !policy.debug, allowances.allowDebug, ['DEBUG off', 'DEBUG on']);
  const unbound = reportIdMa.every((byte) => byte === 0xff);
  refusable('guest.migration-agent', unbound, allowances.allowMigrationAgent, [
    'none',
    `the agent with report id ${shortId(reportIdMa)}`,
  ]);
  appraiseFirmware(report, allowances.allowProvisional === true, reporter);
}

function appraiseFirmware(report: SnpAttestationReport, allowed: boolean, reporter: Reporter): void {
  const { currentTcb, committedTcb, reportedTcb, currentVersion, committedVersion } = report;
  const current = `${formatFirmwareVersion(currentVersion)}, ${formatTcb(currentTcb)}`;
  const newer = [
    ...tcbAtLeast(currentTcb, reportedTcb).below.map((name) => `reported ${name} ${reportedTcb[name]}`),
    ...tcbAtLeast(currentTcb, committedTcb).below.map((name) => `committed ${name} ${committedTcb[name]}`),
    ...(compareVersions(committedVersion, currentVersion) > 0
      ? [`committed ${formatFirmwareVersion(committedVersion)}`]
      : []),
  ];
  reporter.report('firmware.order', newer.length === 0, {
    expected: `at most the running ${current}`,
    found: newer.join(', ') || 'nothing newer',
  });
  const differences = [
    ...tcbDifferences(currentTcb, committedTcb).map(
      (name) => `${name} ${committedTcb[name] ?? 'none'} instead of ${currentTcb[name] ?? 'none'}`,
    ),
    ...(compareVersions(committedVersion, currentVersion) === 0
      ? []
      : [
          `version ${formatFirmwareVersion(committedVersion)} instead of ${formatFirmwareVersion(currentVersion)}`,
        ]),
  ];
  const committed = differences.length === 0;
  const found = committed ? 'the same committed' : `committed ${differences.join(', ')}`;
  reporter.report('firmware.committed', committed || allowed, {
    expected: allowed ? 'the running firmware committed, or not' : 'the running firmware committed',
    found,
  });
}

type Version = SnpAttestationReport['currentVersion'];

/** Negative when `a` is older. */
export function compareVersions(a: Version, b: Version): number {
  return a.major - b.major || a.minor - b.minor || a.build - b.build;
}

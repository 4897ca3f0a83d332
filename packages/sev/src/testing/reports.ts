import { concat } from '../bytes.js';
import type { P384PrivateKey } from '../crypto/index.js';
import { signSnpReport } from '../snp/attestation-report.js';
import type { ProductLine } from '../snp/product-line.js';
import { snpReports } from '../snp/report-layout.js';
import { signingKeys } from '../snp/signer-info.js';
import { buildTcbVersion, type TcbVersion, tcbLayout } from '../snp/tcb-version.js';
import type { Vek, VekKind } from '../snp/vek-certificate.js';
import { type VerifyReportOptions, verifyReport } from '../snp/verify-report.js';
import type { X509Certificate } from '../x509/certificate.js';
import { day, type TestEndorser, vekOf } from './endorsements.js';

type V5 = Parameters<typeof snpReports.v5.build>[0];
type TcbName = 'currentTcb' | 'reportedTcb' | 'committedTcb' | 'launchTcb';

/** What a test may say of a report. TCB versions are those of the VEK, unless they are given. */
export interface TestReport {
  readonly line?: ProductLine;
  readonly signingKey?: keyof typeof signingKeys;
  readonly fields?: Partial<Omit<V5, TcbName | 'policy' | 'platformInfo' | 'signerInfo'>>;
  readonly tcbs?: Partial<Record<TcbName, Partial<TcbVersion>>>;
  readonly policy?: Partial<V5['policy']>;
  readonly platformInfo?: Partial<V5['platformInfo']>;
  readonly authorKeyEnabled?: boolean;
  /** Writes version 2, which does not name the processor. */
  readonly version2?: boolean;
  /** Changes the bytes before they are signed. */
  edit?(bytes: Uint8Array): void;
}

const processors = {
  Milan: { cpuidFamily: 0x19, cpuidModel: 0x01, cpuidStepping: 1 },
  Genoa: { cpuidFamily: 0x19, cpuidModel: 0x11, cpuidStepping: 1 },
  Turin: { cpuidFamily: 0x1a, cpuidModel: 0x02, cpuidStepping: 1 },
  Venice: { cpuidFamily: 0x1a, cpuidModel: 0x50, cpuidStepping: 0 },
} as const;

export const filled = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);

/** A report that a careful owner accepts, but for what the test changes; signed with the given key. */
export async function makeReport(key: P384PrivateKey, report: TestReport = {}): Promise<Uint8Array> {
  const { line = 'Milan', signingKey = 'VCEK', tcbs = {}, fields = {} } = report;
  const vek: Vek = vekOf('VCEK', line);
  const tcb = (name: TcbName) => buildTcbVersion({ ...vek.tcb, ...tcbs[name] }, tcbLayout(line));
  const common = {
    guestSvn: 5,
    policy: { smt: true, mustBeOne: true, abiMajor: 1, abiMinor: 51, ...report.policy },
    familyId: filled(16, 0xfa),
    imageId: filled(16, 0x1a),
    vmpl: 1,
    signatureAlgorithm: signingKey === 'none' ? 'INVALID' : 'ECDSA-P384-SHA384',
    platformInfo: { smtEnabled: true, eccEnabled: true, aliasCheckComplete: true, ...report.platformInfo },
    signerInfo: {
      authorKeyEnabled: report.authorKeyEnabled ?? true,
      maskChipKey: false,
      signingKey: signingKeys[signingKey],
    },
    reportData: filled(64, 0xda),
    measurement: filled(48, 0x3e),
    hostData: filled(32, 0x05),
    idKeyDigest: filled(48, 0x1d),
    authorKeyDigest: filled(48, 0xa0),
    reportId: filled(32, 0x21),
    reportIdMa: filled(32, 0xff),
    chipId: concat(vek.hwid!, new Uint8Array(64 - vek.hwid!.length)),
    currentTcb: tcb('currentTcb'),
    reportedTcb: tcb('reportedTcb'),
    committedTcb: tcb('committedTcb'),
    launchTcb: tcb('launchTcb'),
    currentBuild: 29,
    currentMinor: 55,
    currentMajor: 1,
    committedBuild: 29,
    committedMinor: 55,
    committedMajor: 1,
    r: new Uint8Array(48),
    s: new Uint8Array(48),
    ...fields,
  } as const;
  const bytes = report.version2
    ? snpReports.v2.build({ ...(common as Omit<V5, 'version'>) } as never)
    : snpReports.v5.build({
        launchMitigationVector: 0x0bn,
        currentMitigationVector: 0x0fn,
        ...processors[line],
        ...common,
      } as never);
  report.edit?.(bytes);
  return signingKey === 'none' ? bytes : signSnpReport(bytes, key);
}

/** Verifies a report with the certificates of an endorser, in March 2026. */
export async function verifyWith(
  endorser: TestEndorser,
  report: Uint8Array,
  options: Partial<VerifyReportOptions> & {
    readonly kind?: VekKind;
    readonly vek?: X509Certificate;
    readonly certificates?: readonly X509Certificate[];
    readonly crls?: readonly Uint8Array[];
  } = {},
) {
  const { kind = 'VCEK', vek = await endorser.vek(kind), crls = [], certificates, ...rest } = options;
  const authorities = certificates ?? [endorser.ask, endorser.asvk, endorser.ark];
  const evidence = { report, vek: vek.raw, certificates: authorities.map(({ raw }) => raw), crls };
  return verifyReport(evidence, {
    roots: [endorser.root],
    at: day('2026-03-15'),
    revocation: 'skip',
    ...rest,
  });
}

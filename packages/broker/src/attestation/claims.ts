import {
  type Appraisal,
  formatFirmwareVersion,
  isChipIdMasked,
  isZero,
  type ProductLine,
  parseSnpReport,
  type RootOfTrust,
  type SnpAttestationReport,
  type TcbVersion,
  toHex,
  type Vek,
  type VekKind,
} from '@vouchsafe/sev';
import type { RevocationVerdict } from './revocation-verdict.js';

/**
 * What is known of a guest after its evidence was appraised: plain JSON, for policies, tokens and the record. Bytes are
 * lower-case hexadecimal. A member that the evidence does not have is left out, never zero: a masked chip id, the ID key
 * of a guest without an ID block, the mitigations of a report before version 5.
 */
export type Claims = SnpClaims | PreLaunchClaims;

/** Claims of an SEV-SNP guest that attested at run time. */
export interface SnpClaims {
  readonly tee: 'snp';
  /** The root that the evidence leads to; left out when it leads to none that the broker trusts. */
  readonly root?: RootOfTrust;
  readonly revocation: RevocationVerdict;
  /** 2 to 5. */
  readonly reportVersion: number;
  /** Launch digest, 48 bytes. */
  readonly measurement: string;
  /** 64 bytes. */
  readonly reportData: string;
  /** 32 bytes. */
  readonly hostData: string;
  /** 16 bytes; zero without an ID block. */
  readonly familyId: string;
  /** 16 bytes; zero without an ID block. */
  readonly imageId: string;
  readonly guestSvn: number;
  /** 0 to 3; 4294967295 when the host asked for the report. */
  readonly vmpl: number;
  /** SHA-384 of the key that signed the ID block, 48 bytes. */
  readonly idKeyDigest?: string;
  /** SHA-384 of the key that signed the ID key, 48 bytes. */
  readonly authorKeyDigest?: string;
  readonly policy: SnpPolicyClaims;
  readonly platform: SnpPlatformClaims;
  readonly tcb: {
    readonly reported: TcbVersion;
    readonly committed: TcbVersion;
    readonly current: TcbVersion;
    readonly launch: TcbVersion;
  };
  /** `1.55.29`: major, minor and build. */
  readonly firmware: { readonly current: string; readonly committed: string };
  /** Positions of the set bits of the mitigation vectors, lowest first. */
  readonly mitigations?: { readonly launch: readonly number[]; readonly current: readonly number[] };
  readonly signer: SignerClaims;
  /** From the VEK's certificate, or from the processor that the report names. */
  readonly productLine?: ProductLine;
  /** CPUID family, model and stepping, combined. */
  readonly processor?: { readonly family: number; readonly model: number; readonly stepping: number };
  /** The chip, 64 bytes, from the report or from its VCEK. */
  readonly chipId?: string;
  /** 32 bytes, the same for the life of the guest. */
  readonly reportId: string;
  /** 32 bytes. */
  readonly migrationAgent?: string;
  /** Only when its digest is the report's host data. */
  readonly initData?: InitDataClaims;
  /** RFC 7638 thumbprint (SHA-256, base64url) of the key that secrets are encrypted to. */
  readonly guestKey?: string;
}

/** GUEST_POLICY of the report. */
export interface SnpPolicyClaims {
  readonly abiMajor: number;
  readonly abiMinor: number;
  readonly smt: boolean;
  readonly migrationAgent: boolean;
  readonly debug: boolean;
  readonly singleSocket: boolean;
  readonly cxlAllowed: boolean;
  readonly aes256Xts: boolean;
  readonly raplDisabled: boolean;
  readonly ciphertextHiding: boolean;
  readonly pageSwapDisabled: boolean;
}

/** PLATFORM_INFO of the report. */
export interface SnpPlatformClaims {
  readonly smtEnabled: boolean;
  readonly tsmeEnabled: boolean;
  readonly eccEnabled: boolean;
  readonly raplDisabled: boolean;
  readonly ciphertextHidingEnabled: boolean;
  readonly aliasCheckComplete: boolean;
  readonly tioEnabled: boolean;
}

export interface SignerClaims {
  /** The kind of key that signed the report. */
  readonly kind: VekKind | 'none';
  readonly authorKeyEnabled: boolean;
  readonly maskChipKey: boolean;
  /** Cloud operator of a VLEK, such as `CN=cc-us-east-2.amazonaws.com`. */
  readonly operator?: string;
}

export interface InitDataClaims {
  readonly algorithm: 'sha256' | 'sha384' | 'sha512';
  /** 32 bytes, as in HOST_DATA. */
  readonly digest: string;
  /** File name → text, of the `[data]` table. */
  readonly data: Readonly<Record<string, string>>;
}

/** Claims of an SEV or SEV-ES guest whose launch was measured before it ran. */
export interface PreLaunchClaims {
  readonly tee: 'sev' | 'sev-es';
  readonly root?: RootOfTrust;
  /** `0.24`: of the firmware that measured. */
  readonly api: { readonly major: number; readonly minor: number };
  readonly build: number;
  /** Name of the expected launch that the measurement is of. */
  readonly launch?: string;
  /** Launch digest, 32 bytes. */
  readonly measurement?: string;
  /** 64 bytes, where the host said it and a certificate for it was found. */
  readonly chipId?: string;
  readonly policy: {
    readonly noDebug: boolean;
    readonly noKeySharing: boolean;
    readonly encryptedState: boolean;
    readonly noSend: boolean;
    readonly domain: boolean;
    readonly sev: boolean;
  };
}

export interface SnpClaimsInput {
  /** 1184 bytes. */
  readonly report: Uint8Array;
  /** Of the report with its certificates. */
  readonly appraisal: Appraisal;
  /** What the certificate says; left out when there is none that could be read. */
  readonly vek?: Vek | undefined;
  readonly revocation: RevocationVerdict;
  /** What the guest sent; it becomes a claim only where the Appraisal compared HOST_DATA with its digest. */
  readonly initData?: InitDataClaims | undefined;
  /** RFC 7638 thumbprint of the guest's key. */
  readonly guestKey?: string | undefined;
  /** Reads versions of the report that are not published yet as the newest that is. */
  readonly acceptNewerVersions?: boolean | undefined;
}

/**
 * The claims of an attestation report. They say what stands in the evidence; whether that is genuine, the Appraisal says.
 * @throws MalformedError for a report that cannot be read: it claims nothing
 */
export function snpClaims(input: SnpClaimsInput): SnpClaims {
  const { appraisal, vek, acceptNewerVersions = false } = input;
  const report = parseSnpReport(input.report, { line: vek?.line, acceptNewerVersions });
  const { policy, platformInfo: platform, cpuid } = report;
  const line = vek?.line ?? report.line;
  const chip = chipIdOf(report, vek);
  const { launchMitigationVector: launch, currentMitigationVector: current } = report;
  const bound = appraisal.checks.some(({ id, status }) => id === 'report.host-data' && status === 'pass');
  return {
    tee: 'snp',
    ...(appraisal.root === undefined ? {} : { root: appraisal.root }),
    revocation: input.revocation,
    reportVersion: report.version,
    measurement: toHex(report.measurement),
    reportData: toHex(report.reportData),
    hostData: toHex(report.hostData),
    familyId: toHex(report.familyId),
    imageId: toHex(report.imageId),
    guestSvn: report.guestSvn,
    vmpl: report.vmpl,
    ...(isZero(report.idKeyDigest) ? {} : { idKeyDigest: toHex(report.idKeyDigest) }),
    ...(isZero(report.authorKeyDigest) ? {} : { authorKeyDigest: toHex(report.authorKeyDigest) }),
    policy: {
      abiMajor: policy.abiMajor,
      abiMinor: policy.abiMinor,
      smt: policy.smt,
      migrationAgent: policy.migrationAgent,
      debug: policy.debug,
      singleSocket: policy.singleSocket,
      cxlAllowed: policy.cxlAllowed,
      aes256Xts: policy.aes256Xts,
      raplDisabled: policy.raplDisabled,
      ciphertextHiding: policy.ciphertextHiding,
      pageSwapDisabled: policy.pageSwapDisabled,
    },
    platform: {
      smtEnabled: platform.smtEnabled,
      tsmeEnabled: platform.tsmeEnabled,
      eccEnabled: platform.eccEnabled,
      raplDisabled: platform.raplDisabled,
      ciphertextHidingEnabled: platform.ciphertextHidingEnabled,
      aliasCheckComplete: platform.aliasCheckComplete,
      tioEnabled: platform.tioEnabled,
    },
    tcb: {
      reported: report.reportedTcb,
      committed: report.committedTcb,
      current: report.currentTcb,
      launch: report.launchTcb,
    },
    firmware: {
      current: formatFirmwareVersion(report.currentVersion),
      committed: formatFirmwareVersion(report.committedVersion),
    },
    ...(launch === undefined || current === undefined
      ? {}
      : { mitigations: { launch: setBits(launch), current: setBits(current) } }),
    signer: {
      kind: report.signerInfo.signingKey,
      authorKeyEnabled: report.signerInfo.authorKeyEnabled,
      maskChipKey: report.signerInfo.maskChipKey,
      ...(vek?.cspId === undefined ? {} : { operator: vek.cspId }),
    },
    ...(line === undefined ? {} : { productLine: line }),
    ...(cpuid === undefined ? {} : { processor: cpuid }),
    ...(chip === undefined ? {} : { chipId: chip }),
    reportId: toHex(report.reportId),
    ...(report.reportIdMa.every((byte) => byte === 0xff) ? {} : { migrationAgent: toHex(report.reportIdMa) }),
    ...(bound && input.initData !== undefined ? { initData: input.initData } : {}),
    ...(input.guestKey === undefined ? {} : { guestKey: input.guestKey }),
  };
}

/** The report's chip id, or the VCEK's where the host masks it: both are the same chip's, or the Appraisal refuses. */
function chipIdOf(report: SnpAttestationReport, vek: Vek | undefined): string | undefined {
  if (!isChipIdMasked(report)) return toHex(report.chipId);
  return vek?.hwid && toHex(vek.hwid).padEnd(128, '0');
}

function setBits(vector: bigint): number[] {
  return Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => ((vector >> BigInt(bit)) & 1n) === 1n);
}

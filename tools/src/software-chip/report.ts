import {
  buildTcbVersion,
  signerInfoBits,
  snpGuestPolicyBits,
  snpPlatformInfoBits,
  snpReports,
  type TcbVersion,
} from '@vouchsafe/sev';

export interface ReportMembers {
  /** All four of them. */
  readonly tcb: TcbVersion;
  /** 64 bytes. */
  readonly chipId: Uint8Array;
  /** 64 bytes. */
  readonly reportData?: Uint8Array;
  /** 48 bytes. */
  readonly measurement?: Uint8Array;
}

const filled = (length: number, byte: number) => new Uint8Array(length).fill(byte);

/** A report of Milan's form (1184 bytes) that nobody has signed yet. */
export function unsignedReport({
  tcb: version,
  chipId,
  reportData = filled(64, 1),
  measurement = filled(48, 2),
}: ReportMembers): Uint8Array {
  const tcb = buildTcbVersion(version, 'milan');
  return snpReports.v5.build({
    cpuidFamily: 0x19,
    cpuidModel: 0x01,
    cpuidStepping: 1,
    guestSvn: 1,
    policy: snpGuestPolicyBits.parse(0x30000),
    familyId: filled(16, 0),
    imageId: filled(16, 0),
    vmpl: 0,
    signatureAlgorithm: 'ECDSA-P384-SHA384',
    platformInfo: snpPlatformInfoBits.parse(1),
    signerInfo: signerInfoBits.parse(0),
    reportData,
    measurement,
    hostData: filled(32, 3),
    idKeyDigest: filled(48, 0),
    authorKeyDigest: filled(48, 0),
    reportId: filled(32, 4),
    reportIdMa: filled(32, 0xff),
    chipId,
    currentTcb: tcb,
    reportedTcb: tcb,
    committedTcb: tcb,
    launchTcb: tcb,
    currentBuild: 29,
    currentMinor: 55,
    currentMajor: 1,
    committedBuild: 29,
    committedMinor: 55,
    committedMajor: 1,
    launchMitigationVector: 0n,
    currentMitigationVector: 0n,
    r: filled(48, 0),
    s: filled(48, 0),
  });
}

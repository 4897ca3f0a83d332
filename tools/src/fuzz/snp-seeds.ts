import * as sev from '@vouchsafe/sev';
import { SeededRandom } from './mutate.js';

/** Reports in form only, one a version: their signatures are nobody's. */
export function snpReportSeeds(): Uint8Array[] {
  const random = new SeededRandom(7);
  const milanTcb = sev.buildTcbVersion({ bootloader: 4, tee: 0, snp: 24, microcode: 217 }, 'milan');
  const fields = {
    guestSvn: 1,
    policy: sev.snpGuestPolicyBits.parse(0x30000n),
    familyId: random.bytes(16),
    imageId: random.bytes(16),
    vmpl: 0,
    signatureAlgorithm: 'ECDSA-P384-SHA384',
    currentTcb: milanTcb,
    platformInfo: sev.snpPlatformInfoBits.parse(0x25n),
    signerInfo: sev.signerInfoBits.parse(0),
    reportData: random.bytes(64),
    measurement: random.bytes(48),
    hostData: random.bytes(32),
    idKeyDigest: random.bytes(48),
    authorKeyDigest: new Uint8Array(48),
    reportId: random.bytes(32),
    reportIdMa: new Uint8Array(32).fill(0xff),
    reportedTcb: milanTcb,
    chipId: random.bytes(64),
    committedTcb: milanTcb,
    currentBuild: 29,
    currentMinor: 55,
    currentMajor: 1,
    committedBuild: 29,
    committedMinor: 55,
    committedMajor: 1,
    launchTcb: milanTcb,
    r: random.bytes(48),
    s: random.bytes(48),
  } as const;
  const cpuid = { cpuidFamily: 0x19, cpuidModel: 1, cpuidStepping: 1 };
  const mitigations = { launchMitigationVector: 0xbn, currentMitigationVector: 0xfn };
  return [
    sev.snpReports.v2.build(fields),
    sev.snpReports.v3.build({ ...fields, ...cpuid, version: 3 }),
    sev.snpReports.v5.build({ ...fields, ...cpuid, ...mitigations }),
  ];
}

import * as sev from '@vouchsafe/sev';
import { SeededRandom } from '../mutate.js';

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

export function certificateTableSeeds(): Uint8Array[] {
  const random = new SeededRandom(8);
  const { ARK, ASK, VCEK, CRL, PLATFORM } = sev.certificateTableGuids;
  const platform = sev.extraPlatformInfo.build({ signature: 0xaa0f02 });
  const table = sev.buildCertificateTable([
    ...[ARK, ASK, VCEK, CRL].map((guid) => ({ guid, bytes: random.bytes(20) })),
    { guid: PLATFORM, bytes: platform },
  ]);
  return [table, sev.concat(table, new Uint8Array(40)), new Uint8Array(48)];
}

/** A report in each container that is known. */
export function snpContainerSeeds(): Uint8Array[] {
  const report = snpReportSeeds()[0]!;
  const claims = new TextEncoder().encode('{"keys":[]}');
  const dataSize = sev.hclRuntimeData.size + claims.length;
  const contentSize = sev.hclHead.size + report.length + dataSize;
  return [
    report,
    sev.concat(report, certificateTableSeeds()[0]!),
    sev.concat(
      sev.reportResponseHead.build({ status: 'SUCCESS', reportSize: report.length }),
      report,
      new Uint8Array(100),
    ),
    sev.concat(
      sev.hclHead.build({ version: 1, contentSize }),
      report,
      sev.hclRuntimeData.build({ dataSize, version: 1, claimsSize: claims.length }),
      claims,
      new Uint8Array(50),
    ),
  ];
}

export function idBlockSeed(): Uint8Array {
  const random = new SeededRandom(9);
  return sev.buildIdBlock({ launchDigest: random.bytes(48), familyId: random.bytes(16) });
}

/** With and without an author; numbers that no key has, because a parser asks nothing of them. */
export function idAuthenticationSeeds(): Uint8Array[] {
  const random = new SeededRandom(10);
  const algorithm = 'ECDSA-P384-SHA384';
  const pair = () =>
    sev.ecdsaSignature.parse(sev.ecdsaSignature.build({ r: random.bytes(48), s: random.bytes(48) }));
  const key = () => sev.ecPublicKey.build({ x: random.bytes(48), y: random.bytes(48) });
  const own = {
    idKeyAlgorithm: algorithm,
    idBlockSignature: pair(),
    idKey: sev.ecPublicKey.parse(key()),
  } as const;
  const noSignature = sev.ecdsaSignature.parse(new Uint8Array(sev.ecdsaSignature.size));
  const noAuthor = {
    authorKeyAlgorithm: 'none',
    idKeySignature: noSignature,
    authorKey: new Uint8Array(sev.ecPublicKey.size),
  } as const;
  const author = { authorKeyAlgorithm: algorithm, idKeySignature: pair(), authorKey: key() } as const;
  return [
    sev.idAuthentication.build({ ...own, ...noAuthor }),
    sev.idAuthentication.build({ ...own, ...author }),
  ];
}

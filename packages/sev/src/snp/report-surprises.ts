import { isZero } from '../bytes.js';
import {
  formatFirmwareVersion,
  hardwareIdOf,
  hostRequestedVmpl,
  isChipIdMasked,
  type SnpAttestationReport,
} from './attestation-report.js';
import { productLineOfCpuid } from './product-line.js';
import { type TcbVersion, tcbAtLeast } from './tcb-version.js';

/** What a careful reader should notice in each field of a report: sentences without their full stop, mostly none. */
type Surprises = readonly string[];
type Report = SnpAttestationReport;

const when = (holds: boolean, text: string): Surprises => (holds ? [text] : []);

export function ofVersion({ version }: Report): Surprises {
  return [
    ...when(version === 4, 'what this version adds was never published; it is read as version 3'),
    ...when(version > 5, 'newer than any published version; it is read as version 5'),
  ];
}

export function ofPolicy({ policy }: Report): Surprises {
  return [
    ...when(policy.debug, 'DEBUG: the host can read and change all of the guest’s memory'),
    ...when(policy.migrationAgent, 'MIGRATE_MA: the host may bind the guest to a migration agent at launch'),
  ];
}

export function ofVmpl({ vmpl }: Report): Surprises {
  if (vmpl === hostRequestedVmpl) {
    return ['the host asked for this report, not the guest: its REPORT_DATA is nothing that the guest said'];
  }
  return when(
    vmpl > 0,
    'not the guest’s highest privilege level: something above it (an SVSM, a paravisor) can do what it likes here',
  );
}

export function ofCurrentTcb({ currentTcb, committedTcb }: Report): Surprises {
  return [
    ...higher(currentTcb, committedTcb, (names) => {
      return `above COMMITTED_TCB in ${names}: provisional firmware, which the host can still roll back`;
    }),
    ...higher(committedTcb, currentTcb, (names) => {
      return `COMMITTED_TCB is above it in ${names}: firmware never runs below what it has committed to`;
    }),
  ];
}

export function ofCurrentVersion({ currentVersion, committedVersion }: Report): Surprises {
  const committed = formatFirmwareVersion(committedVersion);
  return when(
    formatFirmwareVersion(currentVersion) !== committed,
    `not the committed version ${committed}: provisional firmware, which the host can still roll back`,
  );
}

export function ofReportedTcb({ reportedTcb, committedTcb }: Report): Surprises {
  return higher(reportedTcb, committedTcb, (names) => {
    return `above COMMITTED_TCB in ${names}: the host may report what it has committed to, and nothing above`;
  });
}

export function ofLaunchTcb({ launchTcb, currentTcb, reportedTcb }: Report): Surprises {
  return [
    ...higher(reportedTcb, launchTcb, (names) => {
      return `REPORTED_TCB is above it in ${names}: the guest was started by older firmware than its signing key stands for`;
    }),
    ...higher(launchTcb, currentTcb, (names) => {
      return `above CURRENT_TCB in ${names}: firmware was rolled back while the guest ran, or the guest was imported`;
    }),
  ];
}

export function ofPlatformInfo({ version, platformInfo }: Report): Surprises {
  const { unknownBits, tioEnabled } = platformInfo;
  return [
    ...when(
      unknownBits !== 0n,
      `bits without a published meaning: 0x${unknownBits.toString(16)} (every Turin seen sets 0x40)`,
    ),
    ...when(tioEnabled && version < 5, `TIO_EN has no meaning in version ${version}`),
  ];
}

export function ofSignerInfo({ signerInfo: { signingKey, maskChipKey } }: Report): Surprises {
  return [
    ...when(signingKey === 'none', 'nobody signed this report: it proves nothing'),
    ...when(
      maskChipKey && signingKey === 'VCEK',
      'MASK_CHIP_KEY keeps the VCEK from signing, and yet it signed',
    ),
  ];
}

export function ofSignature({ signature, signerInfo }: Report): Surprises {
  const unsigned = isZero(signature.r) && isZero(signature.s);
  return when(unsigned && signerInfo.signingKey !== 'none', 'zero, although a key is named as signer');
}

export function ofReportData({ reportData }: Report): Surprises {
  return when(isZero(reportData), 'zero: the report answers no nonce and vouches for no key');
}

export function ofMeasurement({ measurement }: Report): Surprises {
  return when(isZero(measurement), 'zero: no launch digest is');
}

export function ofIdKeyDigest({ idKeyDigest, guestSvn, familyId, imageId }: Report): Surprises {
  if (!isZero(idKeyDigest)) return [];
  const named = guestSvn !== 0 || !isZero(familyId) || !isZero(imageId);
  return [
    'no ID block: no owner signed beforehand what may be launched; the measurement has to say it all',
    ...when(named, 'and yet GUEST_SVN, FAMILY_ID or IMAGE_ID is set'),
  ];
}

export function ofAuthorKeyDigest({ authorKeyDigest, signerInfo }: Report): Surprises {
  return [
    ...when(signerInfo.authorKeyEnabled && isZero(authorKeyDigest), 'zero, although AUTHOR_KEY_EN is set'),
    ...when(!signerInfo.authorKeyEnabled && !isZero(authorKeyDigest), 'set, although AUTHOR_KEY_EN is not'),
  ];
}

export function ofReportIdMa({ reportIdMa }: Report): Surprises {
  const bound = !reportIdMa.every((byte) => byte === 0xff);
  return when(
    bound,
    'a migration agent is bound to this guest: it can hand the guest’s memory to another machine',
  );
}

export function ofCpuid({ cpuid }: Report): Surprises {
  const known = cpuid !== undefined && productLineOfCpuid(cpuid) !== undefined;
  return when(!known, 'no product line is known for this processor');
}

export function ofChipId(report: Report): Surprises {
  if (isChipIdMasked(report)) {
    return [
      'masked by the host: which chip made the report is not known, and no list of chips can be applied',
    ];
  }
  const rest = report.chipId.subarray(hardwareIdOf(report).length);
  return when(!isZero(rest), 'longer than the 8 bytes that chips of this product line have');
}

export function ofCurrentMitigationVector({
  launchMitigationVector = 0n,
  currentMitigationVector = 0n,
}: Report): Surprises {
  const lost = launchMitigationVector & ~currentMitigationVector;
  return when(lost !== 0n, `mitigations that held at launch hold no more: 0x${lost.toString(16)}`);
}

/** The components in which `tcb` is higher, with both values. */
function higher(tcb: TcbVersion, than: TcbVersion, text: (names: string) => string): Surprises {
  const { ok, below } = tcbAtLeast(than, tcb);
  return ok ? [] : [text(below.map((name) => `${name} (${tcb[name]}, not ${than[name]})`).join(', '))];
}

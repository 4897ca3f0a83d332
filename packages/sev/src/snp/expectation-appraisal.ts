import type { Appraiser } from '../appraisal/appraisal.js';
import { concat, equalBytes, isZero, toHex } from '../bytes.js';
import { formatFirmwareVersion, isChipIdMasked, type SnpAttestationReport } from './attestation-report.js';
import type {
  PlatformExpectations,
  PolicyExpectations,
  ReportExpectations,
  TcbFloor,
} from './expectations.js';
import { snpGuestPolicyBits } from './guest-policy.js';
import { snpPlatformInfoBits } from './platform-info.js';
import { compareVersions } from './report-appraisal.js';
import type { ReportExpectationCheck } from './report-checks.js';
import { formatTcb, type TcbVersion, tcbAtLeast } from './tcb-version.js';
import type { Vek } from './vek-certificate.js';

interface Outcome {
  readonly passed: boolean;
  readonly expected: string;
  readonly found: string;
  readonly hint?: string;
}

/** One expectation: how to ask for it, and how it is compared. */
interface Expectation {
  readonly ask: string;
  /** Undefined when it was not asked for. */
  compare(asked: ReportExpectations, report: SnpAttestationReport, vek: Vek | undefined): Outcome | undefined;
}

/** Reports every check of what a caller expects of a report. A check that needs the VEK fails without it. */
export function appraiseExpectations(
  asked: ReportExpectations,
  report: SnpAttestationReport,
  vek: Vek | undefined,
  reporter: Pick<Appraiser<ReportExpectationCheck>, 'report' | 'notAsked'>,
): void {
  for (const id of Object.keys(expectations) as ReportExpectationCheck[]) {
    const { ask, compare } = expectations[id];
    const outcome = compare(asked, report, vek);
    if (outcome === undefined) reporter.notAsked(id, `ask with ${ask}`);
    else {
      const { passed, ...finding } = outcome;
      reporter.report(id, passed, finding);
    }
  }
}

const expectations: Readonly<Record<ReportExpectationCheck, Expectation>> = {
  'report.data': {
    ask: 'reportData, --report-data HEX',
    compare: ({ reportData }, report) => same(reportData, report.reportData),
  },
  'report.measurement': {
    ask: 'measurements, --measurement HEX',
    compare: ({ measurements }, report) => oneOf(measurements, report.measurement),
  },
  'report.host-data': {
    ask: 'hostData, --host-data HEX',
    compare: ({ hostData }, report) => same(hostData, report.hostData),
  },
  'report.id-block': {
    ask: 'requireIdBlock in a policy file',
    compare: ({ requireIdBlock }, { idKeyDigest }) =>
      requireIdBlock === true
        ? { passed: !isZero(idKeyDigest), expected: 'an ID block', found: presence(idKeyDigest, 'ID key') }
        : undefined,
  },
  'report.id-key': {
    ask: 'idKeyDigests in a policy file',
    compare: compareIdKey,
  },
  'report.author-key': {
    ask: 'authorKeyDigests in a policy file',
    compare: ({ authorKeyDigests }, report) => oneOf(authorKeyDigests, report.authorKeyDigest),
  },
  'report.author-key-enabled': {
    ask: 'requireAuthorKey in a policy file',
    compare: ({ requireAuthorKey }, { signerInfo, authorKeyDigest }) =>
      requireAuthorKey === true
        ? {
            passed: signerInfo.authorKeyEnabled && !isZero(authorKeyDigest),
            expected: 'an author key',
            found: `AUTHOR_KEY_EN ${signerInfo.authorKeyEnabled ? 'on' : 'off'}, ${presence(authorKeyDigest, 'author key')}`,
          }
        : undefined,
  },
  'report.family-id': {
    ask: 'familyId in a policy file',
    compare: ({ familyId }, report) => same(familyId, report.familyId),
  },
  'report.image-id': {
    ask: 'imageId in a policy file',
    compare: ({ imageId }, report) => same(imageId, report.imageId),
  },
  'report.guest-svn': {
    ask: 'minimumGuestSvn in a policy file',
    compare: ({ minimumGuestSvn }, { guestSvn }) => atLeast(minimumGuestSvn, guestSvn),
  },
  'report.vmpl': {
    ask: 'vmpl, --vmpl N',
    compare: ({ vmpl }, report) =>
      vmpl === undefined
        ? undefined
        : { passed: report.vmpl === vmpl, expected: `VMPL ${vmpl}`, found: `VMPL ${report.vmpl}` },
  },
  'report.signing-key': {
    ask: 'signingKey in a policy file',
    compare: ({ signingKey }, { signerInfo }) =>
      signingKey === undefined
        ? undefined
        : {
            passed: signerInfo.signingKey === signingKey,
            expected: signingKey,
            found: signerInfo.signingKey,
          },
  },
  'report.version': {
    ask: 'minimumReportVersion in a policy file',
    compare: ({ minimumReportVersion }, { version }) => atLeast(minimumReportVersion, version),
  },
  'report.report-id': {
    ask: 'reportId in a policy file',
    compare: ({ reportId }, report) => same(reportId, report.reportId),
  },
  'report.report-id-ma': {
    ask: 'reportIdMa in a policy file',
    compare: ({ reportIdMa }, report) => same(reportIdMa, report.reportIdMa),
  },
  'report.chip-id': {
    ask: 'requireChipId in a policy file',
    compare: ({ requireChipId }, report) =>
      requireChipId === true
        ? { passed: !isChipIdMasked(report), expected: 'the chip’s id', found: chipText(report) }
        : undefined,
  },
  // A masked id is all zero, which no list may have.
  'report.chip-allowed': {
    ask: 'chipIds in a policy file',
    compare: ({ chipIds }, report) =>
      chipIds === undefined
        ? undefined
        : {
            passed: includes(chipIds.map(wholeChipId), report.chipId),
            expected: choice(chipIds),
            found: chipText(report),
          },
  },
  'report.chip-denied': { ask: 'deniedChipIds in a policy file', compare: compareDenied },
  'vek.allowed-line': {
    ask: 'productLines in a policy file',
    compare: ({ productLines }, _report, vek) =>
      named(productLines, vek?.line, 'no certificate that says it'),
  },
  'vek.csp-id': {
    ask: 'cspIds in a policy file',
    compare: ({ cspIds }, _report, vek) => named(cspIds, vek?.cspId, 'a certificate that names no operator'),
  },
  'policy.abi': {
    ask: 'minimumAbi in a policy file',
    compare({ minimumAbi: least }, { policy }) {
      if (least === undefined) return undefined;
      const version = { major: policy.abiMajor, minor: policy.abiMinor, build: 0 };
      return {
        passed: compareVersions(version, { ...least, build: 0 }) >= 0,
        expected: `${least.major}.${least.minor} or later`,
        found: `${policy.abiMajor}.${policy.abiMinor}`,
      };
    },
  },
  'policy.smt': policyFlag('smt'),
  'policy.migration-agent': policyFlag('migrationAgent'),
  'policy.debug': policyFlag('debug'),
  'policy.single-socket': policyFlag('singleSocket'),
  'policy.cxl': policyFlag('cxlAllowed'),
  'policy.aes-256-xts': policyFlag('aes256Xts'),
  'policy.rapl': policyFlag('raplDisabled'),
  'policy.ciphertext-hiding': policyFlag('ciphertextHiding'),
  'policy.page-swap': policyFlag('pageSwapDisabled'),
  'tcb.reported': tcbFloor('reported', ({ reportedTcb }) => reportedTcb, ', --min-tcb k=v,…'),
  'tcb.committed': tcbFloor('committed', ({ committedTcb }) => committedTcb),
  'tcb.launch': tcbFloor('launch', ({ launchTcb }) => launchTcb),
  'tcb.current': tcbFloor('current', ({ currentTcb }) => currentTcb),
  'firmware.build': {
    ask: 'minimumBuild in a policy file',
    compare: ({ minimumBuild }, { currentVersion }) => atLeast(minimumBuild, currentVersion.build),
  },
  'firmware.version': {
    ask: 'minimumVersion in a policy file',
    compare: ({ minimumVersion: least }, { currentVersion }) =>
      least === undefined
        ? undefined
        : {
            passed: compareVersions(currentVersion, { ...least, build: 0 }) >= 0,
            expected: `${least.major}.${least.minor} or later`,
            found: formatFirmwareVersion(currentVersion),
          },
  },
  'mitigations.launch': {
    ask: 'mitigations.launch in a policy file',
    compare: ({ mitigations }, report) => superset(mitigations?.launch, report.launchMitigationVector),
  },
  'mitigations.current': {
    ask: 'mitigations.current in a policy file',
    compare: ({ mitigations }, report) => superset(mitigations?.current, report.currentMitigationVector),
  },
  'platform.smt': platformFlag('smtEnabled'),
  'platform.tsme': platformFlag('tsmeEnabled'),
  'platform.ecc': platformFlag('eccEnabled'),
  'platform.rapl': platformFlag('raplDisabled'),
  'platform.ciphertext-hiding': platformFlag('ciphertextHidingEnabled'),
  'platform.alias-check': platformFlag('aliasCheckComplete'),
  'platform.tio': platformFlag('tioEnabled'),
  'platform.unknown-bits': {
    ask: 'refuseUnknownPlatformBits in a policy file',
    compare: ({ refuseUnknownPlatformBits }, { platformInfo: { unknownBits } }) =>
      refuseUnknownPlatformBits === true
        ? { passed: unknownBits === 0n, expected: 'none', found: `0x${unknownBits.toString(16)}` }
        : undefined,
  },
};

/** Firmware launches under an author key only after that key's signature of the ID key was verified. */
function compareIdKey(
  { idKeyDigests, authorKeyDigests = [] }: ReportExpectations,
  { idKeyDigest, authorKeyDigest, signerInfo }: SnpAttestationReport,
): Outcome | undefined {
  const outcome = oneOf(idKeyDigests, idKeyDigest);
  if (outcome === undefined || outcome.passed) return outcome;
  if (!signerInfo.authorKeyEnabled || !includes(authorKeyDigests, authorKeyDigest)) return outcome;
  return { ...outcome, passed: true, found: `${outcome.found}, signed by an author key that is trusted` };
}

/** A chip is known by its report or by its VCEK: neither may be on the list, and one of them must tell. */
function compareDenied(
  { deniedChipIds }: ReportExpectations,
  report: SnpAttestationReport,
  vek: Vek | undefined,
): Outcome | undefined {
  if (deniedChipIds === undefined || deniedChipIds.length === 0) return undefined;
  const known = [
    ...(isChipIdMasked(report) ? [] : [report.chipId]),
    ...(vek?.hwid === undefined ? [] : [wholeChipId(vek.hwid)]),
  ];
  const denied = known.find((id) => includes(deniedChipIds.map(wholeChipId), id));
  return {
    passed: known.length > 0 && denied === undefined,
    expected: `a chip that is none of the ${deniedChipIds.length} denied`,
    found: known[0] === undefined ? chipText(report) : `chip ${toHex(denied ?? known[0])}`,
  };
}

/** A report has 64 bytes, of which Turin uses 8. */
function wholeChipId(id: Uint8Array): Uint8Array {
  return id.length === 64 ? id : concat(id, new Uint8Array(64 - id.length));
}

function chipText(report: SnpAttestationReport): string {
  return isChipIdMasked(report) ? 'a masked chip id' : `chip ${toHex(report.chipId)}`;
}

function presence(digest: Uint8Array, what: string): string {
  return isZero(digest) ? `no ${what}` : `an ${what} with digest ${toHex(digest)}`;
}

function includes(list: readonly Uint8Array[], bytes: Uint8Array): boolean {
  return list.some((each) => equalBytes(each, bytes));
}

function choice(list: readonly Uint8Array[]): string {
  if (list.length === 0) return 'one of none, as the list is empty';
  return `${list.length === 1 ? '' : 'one of '}${list.map(toHex).join(', ')}`;
}

function same(wanted: Uint8Array | undefined, found: Uint8Array): Outcome | undefined {
  return wanted && oneOf([wanted], found);
}

function oneOf(wanted: readonly Uint8Array[] | undefined, found: Uint8Array): Outcome | undefined {
  if (wanted === undefined) return undefined;
  return { passed: includes(wanted, found), expected: choice(wanted), found: toHex(found) };
}

function named(
  wanted: readonly string[] | undefined,
  found: string | undefined,
  missing: string,
): Outcome | undefined {
  if (wanted === undefined) return undefined;
  const expected = wanted.join(' or ') || 'one of none, as the list is empty';
  return { passed: wanted.some((each) => each === found), expected, found: found ?? missing };
}

function atLeast(least: number | undefined, found: number): Outcome | undefined {
  if (least === undefined) return undefined;
  return { passed: found >= least, expected: `${least} or more`, found: `${found}` };
}

function superset(wanted: bigint | undefined, found: bigint | undefined): Outcome | undefined {
  if (wanted === undefined) return undefined;
  return {
    passed: found !== undefined && (found & wanted) === wanted,
    expected: `every bit of 0x${wanted.toString(16)}`,
    found: found === undefined ? 'a report without mitigation vectors' : `0x${found.toString(16)}`,
  };
}

function policyFlag(name: keyof PolicyExpectations): Expectation {
  const { label } = snpGuestPolicyBits.ranges[name];
  return {
    ask: `policy.${name} in a policy file`,
    compare: ({ policy }, report) => flag(label, policy?.[name], report.policy[name]),
  };
}

function platformFlag(name: keyof PlatformExpectations): Expectation {
  const { label } = snpPlatformInfoBits.ranges[name];
  return {
    ask: `platformInfo.${name} in a policy file`,
    compare: ({ platformInfo }, report) => flag(label, platformInfo?.[name], report.platformInfo[name]),
  };
}

function flag(label: string, wanted: boolean | undefined, found: boolean): Outcome | undefined {
  if (wanted === undefined) return undefined;
  const words = (on: boolean) => `${label} ${on ? 'on' : 'off'}`;
  return { passed: found === wanted, expected: words(wanted), found: words(found) };
}

function tcbFloor(
  which: keyof NonNullable<ReportExpectations['minimumTcb']>,
  of: (report: SnpAttestationReport) => TcbVersion,
  option = '',
): Expectation {
  return {
    ask: option === '' ? `minimumTcb.${which} in a policy file` : `minimumTcb.${which}${option}`,
    compare({ minimumTcb }, report) {
      const floor = minimumTcb?.[which];
      if (floor === undefined) return undefined;
      const least = withoutUndefined(floor);
      const found = of(report);
      return {
        passed: tcbAtLeast(found, least).ok,
        expected: `at least ${formatTcb(least)}`,
        found: formatTcb(found),
      };
    },
  };
}

function withoutUndefined(floor: TcbFloor): Partial<TcbVersion> {
  return Object.fromEntries(Object.entries(floor).filter(([, value]) => value !== undefined));
}

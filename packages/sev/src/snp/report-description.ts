import { toHex } from '../bytes.js';
import type { FieldDescription } from '../codec/structure.js';
import { formatFirmwareVersion, type SnpAttestationReport } from './attestation-report.js';
import { explainSnpPolicy } from './guest-policy.js';
import { snpPlatformInfoBits } from './platform-info.js';
import { productLineOfCpuid } from './product-line.js';
import { snpReports } from './report-layout.js';
import * as surprise from './report-surprises.js';
import { signerInfoBits } from './signer-info.js';
import { formatTcb } from './tcb-version.js';

/** One row of the page that shows a report. */
export interface SnpReportRow extends FieldDescription {
  /** Name in the specification: `GUEST_SVN`. */
  readonly label: string;
  /** The value in more words: what each policy bit allows, which platform bits are set. */
  readonly details?: readonly string[];
  /** Why a careful reader should stop here, where one should. */
  readonly surprising?: string;
}

/** A row's value, and what is remarkable about it. Where it stands and what it means, the layout says. */
interface RowDefinition {
  readonly fields: readonly string[];
  readonly label: string;
  readonly meaning?: string;
  readonly value: (report: SnpAttestationReport) => string;
  readonly details?: (report: SnpAttestationReport) => readonly string[];
  readonly surprising?: (report: SnpAttestationReport) => readonly string[];
}

const word = (value: number | bigint) => `0x${value.toString(16)}`;

const definitions: readonly RowDefinition[] = [
  {
    fields: ['version'],
    label: 'VERSION',
    value: ({ version }) => String(version),
    surprising: surprise.ofVersion,
  },
  { fields: ['guestSvn'], label: 'GUEST_SVN', value: ({ guestSvn }) => String(guestSvn) },
  {
    fields: ['policy'],
    label: 'POLICY',
    value: ({ policy }) => word(policy.word),
    details: ({ policy }) =>
      explainSnpPolicy(policy.word).map(
        ({ label, set, consequence }) => `${label} ${set ? 'set' : 'not set'}: ${consequence}`,
      ),
    surprising: surprise.ofPolicy,
  },
  { fields: ['familyId'], label: 'FAMILY_ID', value: ({ familyId }) => toHex(familyId) },
  { fields: ['imageId'], label: 'IMAGE_ID', value: ({ imageId }) => toHex(imageId) },
  {
    fields: ['vmpl'],
    label: 'VMPL',
    value: ({ vmpl }) => (vmpl <= 3 ? String(vmpl) : word(vmpl)),
    surprising: surprise.ofVmpl,
  },
  {
    fields: ['signatureAlgorithm'],
    label: 'SIGNATURE_ALGO',
    value: ({ signatureAlgorithm }) => signatureAlgorithm,
  },
  {
    fields: ['currentTcb'],
    label: 'CURRENT_TCB',
    value: ({ currentTcb }) => formatTcb(currentTcb),
    surprising: surprise.ofCurrentTcb,
  },
  {
    fields: ['platformInfo'],
    label: 'PLATFORM_INFO',
    value: ({ platformInfo }) => word(platformInfo.word),
    details: ({ platformInfo }) => bitDetails(snpPlatformInfoBits.ranges, platformInfo),
    surprising: surprise.ofPlatformInfo,
  },
  {
    fields: ['signerInfo'],
    label: 'SIGNER_INFO',
    value: ({ signerInfo: { signingKey, ...bits } }) =>
      [`signed by ${signingKey}`, ...setLabels(signerInfoBits.ranges, bits)].join(', '),
    surprising: surprise.ofSignerInfo,
  },
  {
    fields: ['reportData'],
    label: 'REPORT_DATA',
    value: ({ reportData }) => toHex(reportData),
    surprising: surprise.ofReportData,
  },
  {
    fields: ['measurement'],
    label: 'MEASUREMENT',
    value: ({ measurement }) => toHex(measurement),
    surprising: surprise.ofMeasurement,
  },
  { fields: ['hostData'], label: 'HOST_DATA', value: ({ hostData }) => toHex(hostData) },
  {
    fields: ['idKeyDigest'],
    label: 'ID_KEY_DIGEST',
    value: ({ idKeyDigest }) => toHex(idKeyDigest),
    surprising: surprise.ofIdKeyDigest,
  },
  {
    fields: ['authorKeyDigest'],
    label: 'AUTHOR_KEY_DIGEST',
    value: ({ authorKeyDigest }) => toHex(authorKeyDigest),
    surprising: surprise.ofAuthorKeyDigest,
  },
  { fields: ['reportId'], label: 'REPORT_ID', value: ({ reportId }) => toHex(reportId) },
  {
    fields: ['reportIdMa'],
    label: 'REPORT_ID_MA',
    value: ({ reportIdMa }) => toHex(reportIdMa),
    surprising: surprise.ofReportIdMa,
  },
  {
    fields: ['reportedTcb'],
    label: 'REPORTED_TCB',
    value: ({ reportedTcb }) => formatTcb(reportedTcb),
    surprising: surprise.ofReportedTcb,
  },
  {
    fields: ['cpuidFamily', 'cpuidModel', 'cpuidStepping'],
    label: 'CPUID_FAM_ID, CPUID_MOD_ID, CPUID_STEP',
    meaning: 'the processor that made the report',
    value: cpuidText,
    surprising: surprise.ofCpuid,
  },
  {
    fields: ['chipId'],
    label: 'CHIP_ID',
    value: ({ chipId }) => toHex(chipId),
    surprising: surprise.ofChipId,
  },
  {
    fields: ['committedTcb'],
    label: 'COMMITTED_TCB',
    value: ({ committedTcb }) => formatTcb(committedTcb),
  },
  {
    fields: ['currentBuild', 'currentMinor', 'currentMajor'],
    label: 'CURRENT_BUILD, CURRENT_MINOR, CURRENT_MAJOR',
    meaning: 'version of the firmware that runs',
    value: ({ currentVersion }) => formatFirmwareVersion(currentVersion),
    surprising: surprise.ofCurrentVersion,
  },
  {
    fields: ['committedBuild', 'committedMinor', 'committedMajor'],
    label: 'COMMITTED_BUILD, COMMITTED_MINOR, COMMITTED_MAJOR',
    meaning: 'version of the committed firmware',
    value: ({ committedVersion }) => formatFirmwareVersion(committedVersion),
  },
  {
    fields: ['launchTcb'],
    label: 'LAUNCH_TCB',
    value: ({ launchTcb }) => formatTcb(launchTcb),
    surprising: surprise.ofLaunchTcb,
  },
  {
    fields: ['launchMitigationVector'],
    label: 'LAUNCH_MIT_VECTOR',
    value: ({ launchMitigationVector = 0n }) => word(launchMitigationVector),
  },
  {
    fields: ['currentMitigationVector'],
    label: 'CURRENT_MIT_VECTOR',
    value: ({ currentMitigationVector = 0n }) => word(currentMitigationVector),
    surprising: surprise.ofCurrentMitigationVector,
  },
  { fields: ['r'], label: 'SIGNATURE.R', value: ({ signature }) => toHex(signature.r) },
  {
    fields: ['s'],
    label: 'SIGNATURE.S',
    value: ({ signature }) => toHex(signature.s),
    surprising: surprise.ofSignature,
  },
];

/**
 * Every field of a report in the order of its bytes, with its name, its meaning in words, and what a careful reader
 * should notice. It judges nothing: a report that nobody signed is described as gladly as a genuine one.
 */
export function describeSnpReport(report: SnpAttestationReport): SnpReportRow[] {
  const layout = layoutOf(report.version);
  const described = definitions.flatMap((definition) => {
    const places = definition.fields.flatMap((name) => layout.fields[name] ?? []);
    const [first] = places;
    if (first === undefined) return [];
    const details = definition.details?.(report) ?? [];
    const surprising = definition.surprising?.(report) ?? [];
    return {
      name: definition.fields[0]!,
      label: definition.label,
      offset: first.offset,
      size: places.reduce((size, row) => size + row.size, 0),
      value: definition.value(report),
      meaning: definition.meaning ?? first.meaning,
      ...(details.length === 0 ? {} : { details }),
      ...(surprising.length === 0 ? {} : { surprising: surprising.join('; ') }),
    };
  });
  return [...described, ...unknownRows(report, layout)].sort((a, b) => a.offset - b.offset);
}

type Layout = (typeof snpReports)[keyof typeof snpReports];

function layoutOf(version: number): Layout {
  if (version === 2) return snpReports.v2;
  if (version <= 4) return snpReports.v3;
  return version === 5 ? snpReports.v5 : snpReports.newer;
}

/** Reserved bytes that a newer version uses: only they leave notes under the name of a reserved row. */
function unknownRows({ notes }: SnpAttestationReport, layout: Layout): SnpReportRow[] {
  return notes.flatMap(({ field: name, found: value, meaning }) => {
    const row = layout.fields[name];
    if (row?.presence !== 'reserved') return [];
    const { offset, size } = row;
    const surprising = 'something that this version of Vouchsafe does not know';
    return [{ name, label: 'reserved', offset, size, value, meaning, surprising }];
  });
}

type NamedBits = Readonly<Record<string, { readonly label: string; readonly meaning: string }>>;

function bitDetails<T extends object>(ranges: NamedBits, values: T): string[] {
  const rows = Object.entries(ranges).map(([name, range]) => ({
    ...range,
    set: (values as Record<string, unknown>)[name] === true,
  }));
  const unset = rows.filter(({ set }) => !set).map(({ label }) => label);
  const inWords = rows.filter(({ set }) => set).map(({ label, meaning }) => `${label} set: ${meaning}`);
  return unset.length === 0 ? inWords : [...inWords, `not set: ${unset.join(', ')}`];
}

function setLabels<T extends object>(ranges: NamedBits, values: T): string[] {
  return Object.entries(ranges).flatMap(([name, { label }]) =>
    (values as Record<string, unknown>)[name] === true ? [label] : [],
  );
}

function cpuidText({ cpuid }: SnpAttestationReport): string {
  if (cpuid === undefined) return '';
  const product = productLineOfCpuid(cpuid);
  const numbers = `family ${word(cpuid.family)}, model ${word(cpuid.model)}, stepping ${cpuid.stepping}`;
  return product === undefined ? numbers : `${numbers}: ${product.marketing}, product line ${product.line}`;
}

import { equalBytes, isZero } from '../bytes.js';
import type { Location, Note } from '../codec/field.js';
import { type EcdsaSignature, type P384PrivateKey, signP384 } from '../crypto/index.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { parseSnpGuestPolicy, type SnpGuestPolicy } from './guest-policy.js';
import { parseSnpPlatformInfo, type SnpPlatformInfo } from './platform-info.js';
import { type ProcessorModel, type ProductLine, productLineOfCpuid } from './product-line.js';
import { type SnpSignatureAlgorithm, snpReports } from './report-layout.js';
import { type SignerInfo, signerInfoOf } from './signer-info.js';
import { parseTcbVersion, type TcbLayout, type TcbVersion, tcbLayout, tcbVersions } from './tcb-version.js';

/** Bytes of a report, in all versions. */
export const snpReportSize = snpReports.v5.size;
/** The VMPL of a report that the host asked for, not the guest. */
export const hostRequestedVmpl = 0xffff_ffff;

export interface SnpFirmwareVersion {
  readonly major: number;
  readonly minor: number;
  readonly build: number;
}

/**
 * Where the product line comes from. `cpuid`: the report says it, signed. `given`: the caller said it. `chip-id`: guessed
 * from the length of the chip id. `unknown`: nothing tells.
 */
export type LineSource = 'cpuid' | 'given' | 'chip-id' | 'unknown';

export interface SnpAttestationReport {
  readonly version: number;
  readonly guestSvn: number;
  readonly policy: SnpGuestPolicy;
  /** 16 bytes. */
  readonly familyId: Uint8Array;
  /** 16 bytes. */
  readonly imageId: Uint8Array;
  /** 0 to 3, or `hostRequestedVmpl`. */
  readonly vmpl: number;
  readonly signatureAlgorithm: SnpSignatureAlgorithm;
  readonly currentTcb: TcbVersion;
  readonly platformInfo: SnpPlatformInfo;
  readonly signerInfo: SignerInfo;
  /** 64 bytes. */
  readonly reportData: Uint8Array;
  /** 48 bytes. */
  readonly measurement: Uint8Array;
  /** 32 bytes. */
  readonly hostData: Uint8Array;
  /** 48 bytes; zero without an ID block. */
  readonly idKeyDigest: Uint8Array;
  /** 48 bytes; zero without an author key. */
  readonly authorKeyDigest: Uint8Array;
  /** 32 bytes. */
  readonly reportId: Uint8Array;
  /** 32 bytes; all ones without a migration agent. */
  readonly reportIdMa: Uint8Array;
  readonly reportedTcb: TcbVersion;
  /** Since version 3. */
  readonly cpuid?: ProcessorModel;
  /** 64 bytes; zero when masked. */
  readonly chipId: Uint8Array;
  readonly committedTcb: TcbVersion;
  readonly currentVersion: SnpFirmwareVersion;
  readonly committedVersion: SnpFirmwareVersion;
  readonly launchTcb: TcbVersion;
  /** Since version 5. */
  readonly launchMitigationVector?: bigint;
  /** Since version 5. */
  readonly currentMitigationVector?: bigint;
  readonly signature: EcdsaSignature;
  /** The product line, as far as the report or the caller tells; the VEK's certificate has the last word. */
  readonly line?: ProductLine;
  readonly lineSource: LineSource;
  /** How the four TCB versions were read. */
  readonly tcbLayout: TcbLayout;
  /** The 1184 bytes. */
  readonly raw: Uint8Array;
  /** What is unusual and not refused, for example platform bits without a published meaning. */
  readonly notes: readonly Note[];
}

export interface ParseSnpReportOptions {
  /** Of the chip, where the report does not say: version 2, and processors that are not known yet. */
  readonly line?: ProductLine | undefined;
  /** Reads versions after 5 as 5, with what is new reported in `notes`. Unknown policy and signer bits stay refused. */
  readonly acceptNewerVersions?: boolean;
  readonly location?: Location;
}

/**
 * Reads an attestation report of any published version, strictly: each version's reserved bytes zero, no value without
 * a meaning. It says nothing yet about who signed.
 * @param bytes 1184 bytes (0x4A0)
 * @throws MalformedError naming the field and its offset
 */
export function parseSnpReport(bytes: Uint8Array, options: ParseSnpReportOptions = {}): SnpAttestationReport {
  const location = options.location ?? { offset: 0, path: 'SNP attestation report' };
  const layout = layoutFor(bytes, options, location);
  const fields = layout.parse(bytes, location);
  const at = (name: keyof typeof fields & string): Location => ({
    offset: location.offset + layout.offsetOf(name as never),
    path: `${location.path ?? layout.name}, ${name}`,
  });
  const word = (name: 'policy' | 'platformInfo') =>
    new DataView(fields.raw.buffer).getBigUint64(layout.offsetOf(name), true);

  const cpuid = cpuidOf(fields);
  const line = lineOf(cpuid, fields, options.line);
  const signerInfo = signerInfoOf(fields.signerInfo, at('signerInfo'));
  const platformInfo = parseSnpPlatformInfo(word('platformInfo'));
  requireVmpl(fields.vmpl, at('vmpl'));
  requireSignatureFits(fields, signerInfo, at('signatureAlgorithm'));
  return {
    version: fields.version,
    guestSvn: fields.guestSvn,
    policy: parseSnpGuestPolicy(word('policy'), at('policy')),
    familyId: fields.familyId,
    imageId: fields.imageId,
    vmpl: fields.vmpl,
    signatureAlgorithm: fields.signatureAlgorithm,
    platformInfo,
    signerInfo,
    reportData: fields.reportData,
    measurement: fields.measurement,
    hostData: fields.hostData,
    idKeyDigest: fields.idKeyDigest,
    authorKeyDigest: fields.authorKeyDigest,
    reportId: fields.reportId,
    reportIdMa: fields.reportIdMa,
    ...(cpuid === undefined ? {} : { cpuid }),
    chipId: fields.chipId,
    currentVersion: {
      major: fields.currentMajor,
      minor: fields.currentMinor,
      build: fields.currentBuild,
    },
    committedVersion: {
      major: fields.committedMajor,
      minor: fields.committedMinor,
      build: fields.committedBuild,
    },
    ...mitigationsOf(fields),
    signature: { r: fields.r, s: fields.s },
    ...line,
    ...tcbVersionsOf(fields, line.tcbLayout, at),
    raw: fields.raw,
    notes: [...fields.notes, ...earlyTioNote(fields, platformInfo, at('platformInfo'))],
  };
}

/**
 * The same report read for a product line that was learnt elsewhere, most often from the VEK's certificate: the TCB
 * versions of Turin stand in other bytes than those of Milan and Genoa.
 * @throws InvalidArgumentError when the report names its processor, and that is of another line
 * @throws MalformedError when the TCB versions cannot be of that line
 */
export function reportForLine(report: SnpAttestationReport, line: ProductLine): SnpAttestationReport {
  if (report.line === line && report.lineSource !== 'chip-id') return report;
  if (report.lineSource === 'cpuid') {
    throw new InvalidArgumentError(
      'product line',
      `the report names a processor of ${report.line}, not ${line}`,
    );
  }
  return parseSnpReport(report.raw, { line, acceptNewerVersions: true });
}

/** The bytes that the signature covers: everything before it, 0x2A0 bytes. */
export function signedBytesOfReport(report: Pick<SnpAttestationReport, 'raw'>): Uint8Array {
  return report.raw.subarray(0, snpReports.v5.offsetOf('r'));
}

export function isChipIdMasked({ chipId }: Pick<SnpAttestationReport, 'chipId'>): boolean {
  return isZero(chipId);
}

/** The part of a chip id that certificates and the key distribution service use: 8 bytes since Turin, before that 64. */
export function hardwareIdOf({
  chipId,
  tcbLayout: layout,
}: Pick<SnpAttestationReport, 'chipId' | 'tcbLayout'>): Uint8Array {
  return layout === 'turin' ? chipId.slice(0, shortChipIdSize) : chipId.slice();
}

/** `1.55.29` */
export function formatFirmwareVersion({ major, minor, build }: SnpFirmwareVersion): string {
  return `${major}.${minor}.${build}`;
}

/**
 * The firmware's side: signs a report, over whatever stands before the signature.
 * @throws InvalidArgumentError for another length than a report's
 */
export async function signSnpReport(report: Uint8Array, key: P384PrivateKey): Promise<Uint8Array> {
  if (report.length !== snpReportSize)
    throw new InvalidArgumentError('report', `expected ${snpReportSize} bytes, found ${report.length}`);
  const signed = new Uint8Array(report);
  const signature = await signP384(key, 'sha384', signedBytesOfReport({ raw: signed }));
  for (const name of ['r', 's'] as const) {
    const row = snpReports.v5.fields[name]!;
    row.write(signature[name], signed.subarray(row.offset, row.offset + row.size));
  }
  return signed;
}

type ReportFields = ReturnType<(typeof snpReports)[keyof typeof snpReports]['parse']>;
type Tcbs = Pick<ReportFields, (typeof tcbNames)[number]>;

const tcbNames = ['currentTcb', 'reportedTcb', 'committedTcb', 'launchTcb'] as const;
const shortChipIdSize = 8;

function layoutFor(bytes: Uint8Array, options: ParseSnpReportOptions, location: Location) {
  const refuse = (field: string, expected: string, found: string): never => {
    const { offset, path: structure = 'SNP attestation report' } = location;
    throw new MalformedError({ structure, field, offset, expected, found });
  };
  if (bytes.length !== snpReportSize) refuse('length', `${snpReportSize} bytes`, `${bytes.length} bytes`);
  const version = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  if (version === 2) return snpReports.v2;
  if (version === 3 || version === 4) return snpReports.v3;
  if (version === 5) return snpReports.v5;
  if (version > 5 && options.acceptNewerVersions === true) return snpReports.newer;
  return refuse('version', '2, 3, 4 or 5', String(version));
}

function cpuidOf(fields: ReportFields): ProcessorModel | undefined {
  if (!('cpuidModel' in fields)) return undefined;
  return { family: fields.cpuidFamily, model: fields.cpuidModel, stepping: fields.cpuidStepping };
}

function mitigationsOf(fields: ReportFields) {
  if (!('launchMitigationVector' in fields)) return {};
  const { launchMitigationVector, currentMitigationVector } = fields;
  return { launchMitigationVector, currentMitigationVector };
}

/** A report of version 2 does not say which chip it is from, so the caller does, or the length of the chip id. */
function lineOf(
  cpuid: ProcessorModel | undefined,
  fields: Tcbs & Pick<ReportFields, 'chipId'>,
  given: ProductLine | undefined,
): { readonly line?: ProductLine; readonly lineSource: LineSource; readonly tcbLayout: TcbLayout } {
  const own = cpuid && productLineOfCpuid(cpuid)?.line;
  if (own !== undefined) return { line: own, lineSource: 'cpuid', tcbLayout: tcbLayout(own) };
  if (given !== undefined) return { line: given, lineSource: 'given', tcbLayout: tcbLayout(given) };
  const layout = layoutThatFits(fields);
  const shortChipId = isZero(fields.chipId.subarray(shortChipIdSize)) && !isZero(fields.chipId);
  if (cpuid === undefined && shortChipId) return { line: 'Turin', lineSource: 'chip-id', tcbLayout: 'turin' };
  return { lineSource: 'unknown', tcbLayout: layout };
}

/** Where nothing tells the layout: Milan's, unless one of the TCB versions has something where Milan has zeros. */
function layoutThatFits(tcbs: Tcbs): TcbLayout {
  const { offset, size } = tcbVersions.milan.fields['reserved']!;
  const fits = tcbNames.every((name) => isZero(tcbs[name].subarray(offset, offset + size)));
  return fits ? 'milan' : 'turin';
}

function tcbVersionsOf(fields: Tcbs, layout: TcbLayout, at: (name: keyof Tcbs) => Location) {
  // Most chips have the same in all four.
  const done: { readonly bytes: Uint8Array; readonly tcb: TcbVersion }[] = [];
  const read = (name: keyof Tcbs): TcbVersion => {
    const bytes = fields[name];
    const twin = done.find((each) => equalBytes(each.bytes, bytes));
    if (twin !== undefined) return twin.tcb;
    const tcb = parseTcbVersion(bytes, layout, at(name));
    done.push({ bytes, tcb });
    return tcb;
  };
  return {
    currentTcb: read('currentTcb'),
    reportedTcb: read('reportedTcb'),
    committedTcb: read('committedTcb'),
    launchTcb: read('launchTcb'),
  };
}

function requireVmpl(vmpl: number, { offset, path = '' }: Location): void {
  if (vmpl <= 3 || vmpl === hostRequestedVmpl) return;
  throw new MalformedError({
    structure: path,
    field: 'VMPL',
    offset,
    expected: '0 to 3, or 0xffffffff',
    found: String(vmpl),
  });
}

/** An unsigned report has no signature, a signed one names its algorithm. */
function requireSignatureFits(
  fields: Pick<ReportFields, 'signatureAlgorithm' | 'r' | 's'>,
  { signingKey }: SignerInfo,
  { offset, path = '' }: Location,
): void {
  const refuse = (field: string, expected: string, found: string) => {
    throw new MalformedError({ structure: path, field, offset, expected, found });
  };
  if (signingKey === 'none') {
    if (!isZero(fields.r) || !isZero(fields.s)) refuse('SIGNATURE', 'zero, as no key signed', 'a signature');
  } else if (fields.signatureAlgorithm === 'INVALID') {
    refuse('SIGNATURE_ALGO', `an algorithm, as the ${signingKey} signed`, 'INVALID');
  }
}

/** The bit had no meaning before version 5. */
function earlyTioNote(
  { version }: Pick<ReportFields, 'version'>,
  { tioEnabled }: SnpPlatformInfo,
  { offset, path = '' }: Location,
): Note[] {
  if (version >= 5 || !tioEnabled) return [];
  return [
    {
      structure: path,
      field: 'TIO_EN',
      offset,
      found: '1',
      meaning: `a bit without meaning in version ${version}`,
    },
  ];
}

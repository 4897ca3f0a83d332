import {
  buildTcbVersion,
  type CertificateTableEntry,
  certificateTableGuids,
  type Guid,
  MalformedError,
  parseSnpReport,
  signerInfoBits,
  snpGuestPolicyBits,
  snpPlatformInfoBits,
  snpReports,
  type TcbLayout,
  zeroGuid,
} from '@vouchsafe/sev';
import type { JsonValue } from '../json/strict-json.js';
import { message } from '../message.js';
import { type SnpEvidenceJson, snpEvidenceSchema } from './snp-evidence-schema.js';

/** Evidence of a SEV-SNP guest, as bytes. */
export interface SnpPrimaryEvidence {
  /** The attestation report, 1184 bytes, not yet verified. */
  readonly report: Uint8Array;
  /** What the host gave beside it, not yet verified: `endorsementsOfTable` of the ground floor sorts it. */
  readonly certificates: readonly CertificateTableEntry[];
}

const evidenceMessage = message('SNP evidence', snpEvidenceSchema);

/**
 * Reads the `primary_evidence` of a SEV-SNP guest: the report member by member, as the Rust crate `sev` (6.3 to 7.1)
 * writes it, and the host's certificates. The report's bytes come out as the processor made them, so that its signature
 * can be verified.
 * @param evidence JSON with big integers, as `parseStrictJson` and `rcarAttestation` give it
 * @throws MalformedError with a JSON pointer to the member: for another version than 2 to 5, members that this version
 * does not have, TCB versions of two layouts, certificates of one kind twice
 */
export function parseSnpEvidence(evidence: JsonValue): SnpPrimaryEvidence {
  const { attestation_report: report, cert_chain: chain } = evidenceMessage.parse(evidence);
  return { report: reportBytes(report), certificates: certificatesOf(chain ?? []) };
}

/**
 * The `primary_evidence` of a report, for {@link parseSnpEvidence} and for Trustee. Certificates of kinds that the format
 * has no name for keep their GUID.
 * @throws MalformedError for bytes that are not a report, and for a certificate of more than 64 KiB
 */
export function snpEvidenceJson({ report, certificates }: SnpPrimaryEvidence): JsonValue {
  const parsed = parseSnpReport(report);
  const tcb = (name: 'currentTcb' | 'reportedTcb' | 'committedTcb' | 'launchTcb') => {
    const { fmc = null, bootloader, tee, snp, microcode } = parsed[name];
    return { fmc, bootloader, tee, snp, microcode };
  };
  const view = new DataView(parsed.raw.buffer, parsed.raw.byteOffset);
  const { offsetOf } = snpReports.v5;
  const words = {
    policy: view.getBigUint64(offsetOf('policy'), true),
    plat_info: view.getBigUint64(offsetOf('platformInfo'), true),
    key_info: view.getUint32(offsetOf('signerInfo'), true),
    sig_algo: view.getUint32(offsetOf('signatureAlgorithm'), true),
  };
  const padded = (bytes: Uint8Array) => {
    const field = new Uint8Array(72);
    field.set(bytes.toReversed());
    return field;
  };
  const json: SnpEvidenceJson = {
    attestation_report: {
      version: parsed.version,
      guest_svn: parsed.guestSvn,
      policy: words.policy,
      family_id: parsed.familyId,
      image_id: parsed.imageId,
      vmpl: parsed.vmpl,
      sig_algo: words.sig_algo,
      current_tcb: tcb('currentTcb'),
      plat_info: words.plat_info,
      key_info: words.key_info,
      report_data: parsed.reportData,
      measurement: parsed.measurement,
      host_data: parsed.hostData,
      id_key_digest: parsed.idKeyDigest,
      author_key_digest: parsed.authorKeyDigest,
      report_id: parsed.reportId,
      report_id_ma: parsed.reportIdMa,
      reported_tcb: tcb('reportedTcb'),
      cpuid_fam_id: parsed.cpuid?.family ?? null,
      cpuid_mod_id: parsed.cpuid?.model ?? null,
      cpuid_step: parsed.cpuid?.stepping ?? null,
      chip_id: parsed.chipId,
      committed_tcb: tcb('committedTcb'),
      current: parsed.currentVersion,
      committed: parsed.committedVersion,
      launch_tcb: tcb('launchTcb'),
      launch_mit_vector: parsed.launchMitigationVector ?? null,
      current_mit_vector: parsed.currentMitigationVector ?? null,
      signature: { r: padded(parsed.signature.r), s: padded(parsed.signature.s) },
    },
    cert_chain:
      certificates.length === 0
        ? null
        : certificates.map(({ kind, guid, bytes: data }) => ({
            cert_type: kind === 'other' || kind === 'PLATFORM' ? { OTHER: guid } : kind,
            data,
          })),
  };
  return evidenceMessage.toJson(json) as JsonValue;
}

/** In place of the words that are written whole. */
const noBits = {
  policy: snpGuestPolicyBits.parse(0),
  platformInfo: snpPlatformInfoBits.parse(0),
  signerInfo: signerInfoBits.parse(0),
};

type ReportJson = SnpEvidenceJson['attestation_report'];

function reportBytes(json: ReportJson): Uint8Array {
  const layout = json.current_tcb.fmc === null ? 'milan' : 'turin';
  const little = (field: Uint8Array) => field.slice(0, 48).reverse();
  const common = {
    guestSvn: json.guest_svn,
    policy: noBits.policy,
    familyId: json.family_id,
    imageId: json.image_id,
    vmpl: json.vmpl,
    signatureAlgorithm: 'INVALID',
    currentTcb: tcbBytes(json, 'current_tcb', layout),
    platformInfo: noBits.platformInfo,
    signerInfo: noBits.signerInfo,
    reportData: json.report_data,
    measurement: json.measurement,
    hostData: json.host_data,
    idKeyDigest: json.id_key_digest,
    authorKeyDigest: json.author_key_digest,
    reportId: json.report_id,
    reportIdMa: json.report_id_ma,
    reportedTcb: tcbBytes(json, 'reported_tcb', layout),
    chipId: json.chip_id,
    committedTcb: tcbBytes(json, 'committed_tcb', layout),
    currentBuild: json.current.build,
    currentMinor: json.current.minor,
    currentMajor: json.current.major,
    committedBuild: json.committed.build,
    committedMinor: json.committed.minor,
    committedMajor: json.committed.major,
    launchTcb: tcbBytes(json, 'launch_tcb', layout),
    r: little(json.signature.r),
    s: little(json.signature.s),
  } as const;
  const bytes = byVersion(json, common);
  // Words with named bits are written whole: a bit that has no name yet is signed as well.
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const { offsetOf } = snpReports.v5;
  view.setBigUint64(offsetOf('policy'), json.policy, true);
  view.setBigUint64(offsetOf('platformInfo'), json.plat_info, true);
  view.setUint32(offsetOf('signerInfo'), json.key_info, true);
  view.setUint32(offsetOf('signatureAlgorithm'), json.sig_algo, true);
  return bytes;
}

type Common = Omit<Parameters<typeof snpReports.v2.build>[0], 'version'>;

/** Each version has members of its own; the others must be null or absent, as they have no place in the bytes. */
function byVersion(json: ReportJson, common: Common): Uint8Array {
  const { version } = json;
  const present = (name: keyof ReportJson & string) => {
    const value = json[name];
    if (value === null || value === undefined)
      return refuse(name, `a number, as the report has version ${version}`, 'null');
    return value;
  };
  const absent = (...names: readonly (keyof ReportJson & string)[]) => {
    for (const name of names) {
      if ((json[name] ?? null) !== null)
        refuse(name, `null, as the report has version ${version}`, 'a value');
    }
  };
  if (version === 2) {
    absent('cpuid_fam_id', 'cpuid_mod_id', 'cpuid_step', 'launch_mit_vector', 'current_mit_vector');
    return snpReports.v2.build({ ...common, version });
  }
  const cpuid = {
    cpuidFamily: present('cpuid_fam_id') as number,
    cpuidModel: present('cpuid_mod_id') as number,
    cpuidStepping: present('cpuid_step') as number,
  };
  if (version === 3 || version === 4) {
    absent('launch_mit_vector', 'current_mit_vector');
    return snpReports.v3.build({ ...common, ...cpuid, version });
  }
  if (version !== 5) return refuse('version', '2, 3, 4 or 5', String(version));
  return snpReports.v5.build({
    ...common,
    ...cpuid,
    version,
    launchMitigationVector: present('launch_mit_vector') as bigint,
    currentMitigationVector: present('current_mit_vector') as bigint,
  });
}

function tcbBytes(
  json: ReportJson,
  name: 'current_tcb' | 'reported_tcb' | 'committed_tcb' | 'launch_tcb',
  layout: TcbLayout,
): Uint8Array {
  const { fmc, ...others } = json[name];
  if ((fmc === null) !== (layout === 'milan'))
    refuse(`${name}/fmc`, layout === 'milan' ? 'null, as in current_tcb' : 'a number, as in current_tcb');
  return buildTcbVersion({ ...others, ...(fmc === null ? {} : { fmc }) }, layout);
}

function certificatesOf(chain: NonNullable<SnpEvidenceJson['cert_chain']>): CertificateTableEntry[] {
  const seen = new Set<Guid>();
  return chain.flatMap(({ cert_type: type, data }, i) => {
    const field = `cert_chain/${i}`;
    if (type === 'Empty') {
      if (data.length > 0) refuseAt(`${field}/data`, 'no bytes in an empty entry', `${data.length} bytes`);
      return [];
    }
    const guid = typeof type === 'string' ? certificateTableGuids[type] : type.OTHER;
    if (seen.has(guid) || guid === zeroGuid) refuseAt(field, 'each kind once', 'a kind twice');
    seen.add(guid);
    if (data.length === 0) refuseAt(`${field}/data`, 'bytes', 'none');
    return [{ guid, kind: kindOf(guid), bytes: data }];
  });
}

function kindOf(guid: Guid): CertificateTableEntry['kind'] {
  const kinds = Object.keys(certificateTableGuids) as (keyof typeof certificateTableGuids)[];
  return kinds.find((kind) => certificateTableGuids[kind] === guid) ?? 'other';
}

function refuse(field: string, expected: string, found = 'something else'): never {
  return refuseAt(`attestation_report/${field}`, expected, found);
}

function refuseAt(field: string, expected: string, found: string): never {
  throw new MalformedError({
    structure: evidenceMessage.name,
    field: `/${field}`,
    offset: 0,
    expected,
    found,
  });
}

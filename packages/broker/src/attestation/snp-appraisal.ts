import { createHash } from 'node:crypto';
import { type InitData, initDataDigest, parseInitData, type SnpPrimaryEvidence } from '@vouchsafe/protocol';
import {
  type Appraisal,
  type AppraiseReportOptions,
  appraiseReport,
  type EndorsementRoot,
  endorse,
  endorsementsOfTable,
  type OfferedRevocationList,
  type ProductLine,
  parseSnpReport,
  parseVek,
  readCertificates,
  readRevocationLists,
  type SnpAttestationReport,
  toHex,
  type VekKind,
  type VerifiedEndorsement,
  VouchsafeError,
} from '@vouchsafe/sev';
import { type InitDataClaims, type SnpClaims, snpClaims } from './claims.js';
import type { EndorsementShelf } from './endorsement-shelf.js';
import { type RevocationVerdict, revocationVerdict } from './revocation-verdict.js';

/** What SEV-SNP evidence must bind. */
export interface SnpBinding {
  /** 64 bytes. */
  readonly reportData: Uint8Array;
  /** RFC 7638 thumbprint of the key that is bound. */
  readonly guestKey: string;
  /** Text that HOST_DATA must be the digest of. */
  readonly initData?: string | undefined;
}

export interface SnpAppraisal {
  readonly appraisal: Appraisal;
  /** Undefined when the report cannot be read: it claims nothing. */
  readonly claims: SnpClaims | undefined;
}

export type SnpAllowances = Pick<
  AppraiseReportOptions,
  'allowDebug' | 'allowMigrationAgent' | 'allowProvisional' | 'acceptNewerVersions'
>;

export interface SnpAppraiserOptions {
  readonly roots: readonly EndorsementRoot[];
  readonly shelf: EndorsementShelf;
  readonly allowances?: SnpAllowances;
  /** Endorsements remembered at one time: 512. A report by a remembered one costs its signature and little more. */
  readonly remembered?: number;
}

/** Appraises SEV-SNP evidence against what it must bind. Nothing is fetched while it does. */
export type SnpAppraiser = (
  evidence: SnpPrimaryEvidence,
  binding: SnpBinding,
  at: number,
) => Promise<SnpAppraisal>;

export function snpAppraiser(options: SnpAppraiserOptions): SnpAppraiser {
  const { roots, shelf, allowances = {}, remembered = 512 } = options;
  const endorsements = new Map<string, Endorsed>();

  async function endorsementOf(files: Files, at: number): Promise<Endorsed> {
    const key = `${shelf.edition} ${digestOf(files)}`;
    const known = endorsements.get(key);
    if (known !== undefined) {
      endorsements.delete(key);
      endorsements.set(key, known);
      return known;
    }
    const { kind, vek, certificates, lists } = files;
    const line = lineOf(vek) ?? files.line;
    const stored = line === undefined ? { certificates: [], crls: [] } : shelf.authorities(kind, line);
    const crls = [...lists, ...stored.crls];
    const made = {
      endorsement: await endorse(
        { vek, certificates: [...certificates, ...stored.certificates], crls },
        { roots, at, revocation: 'if-available' },
        kind,
      ),
      crls,
    };
    endorsements.set(key, made);
    for (const oldest of endorsements.keys()) {
      if (endorsements.size <= remembered) break;
      endorsements.delete(oldest);
    }
    return made;
  }

  return async ({ report, certificates: table }, binding, at) => {
    const parsed = readReport(report, allowances);
    const kind = parsed?.signerInfo.signingKey === 'VLEK' ? 'VLEK' : 'VCEK';
    const offered = endorsementsOfTable(table, kind);
    const vek = offered.vek ?? (await vekOnShelf(parsed, kind));
    const { endorsement, crls } = await endorsementOf(
      {
        kind,
        vek,
        line: parsed?.line,
        certificates: offered.certificates,
        lists: listsOf(offered.revocationLists),
      },
      at,
    );
    const hostData = binding.initData === undefined ? undefined : await initDataDigest(binding.initData);
    const appraisal = await appraiseReport(report, endorsement, {
      ...allowances,
      at,
      expectations: {
        reportData: binding.reportData,
        ...(hostData === undefined ? {} : { hostData }),
      },
    });
    if (parsed === undefined) return { appraisal, claims: undefined };
    const revocation = await revocationVerdict(endorsement, crls, at);
    return { appraisal, claims: claimsOf({ report, appraisal, endorsement, revocation }, binding, hostData) };
  };

  function claimsOf(
    found: Found,
    { guestKey, initData }: SnpBinding,
    hostData: Uint8Array | undefined,
  ): SnpClaims {
    const { report, appraisal, endorsement, revocation } = found;
    const text = initData === undefined || hostData === undefined ? undefined : parseInitData(initData);
    return snpClaims({
      report,
      appraisal,
      vek: endorsement.vek,
      revocation,
      guestKey,
      initData: text === undefined || hostData === undefined ? undefined : initDataClaims(text, hostData),
      ...(allowances.acceptNewerVersions === undefined
        ? {}
        : { acceptNewerVersions: allowances.acceptNewerVersions }),
    });
  }

  async function vekOnShelf(
    report: SnpAttestationReport | undefined,
    kind: VekKind,
  ): Promise<Uint8Array | undefined> {
    if (report?.line === undefined || kind === 'VLEK') return undefined;
    return shelf.vcek({ line: report.line, chipId: report.chipId, tcb: report.reportedTcb });
  }
}

interface Endorsed {
  readonly endorsement: VerifiedEndorsement;
  readonly crls: readonly OfferedRevocationList[];
}

interface Found {
  readonly report: Uint8Array;
  readonly appraisal: Appraisal;
  readonly endorsement: VerifiedEndorsement;
  readonly revocation: RevocationVerdict;
}

interface Files {
  readonly kind: VekKind;
  /** Of the report; a certificate that names one knows better. */
  readonly line: ProductLine | undefined;
  readonly vek: Uint8Array | undefined;
  readonly certificates: readonly Uint8Array[];
  readonly lists: readonly OfferedRevocationList[];
}

function digestOf({ kind, line, vek, certificates, lists }: Files): string {
  const hash = createHash('sha256').update(`${kind} ${line} ${lists.length}`);
  for (const bytes of [vek ?? new Uint8Array(), ...certificates, ...lists.map(({ raw }) => raw)])
    hash.update(`${bytes.length} `).update(bytes);
  return hash.digest('base64');
}

function readReport(
  report: Uint8Array,
  { acceptNewerVersions = false }: SnpAllowances,
): SnpAttestationReport | undefined {
  return unlessUnreadable(() => parseSnpReport(report, { acceptNewerVersions }));
}

/** Of a certificate that cannot be read there is none; the Appraisal says so. */
function lineOf(vek: Uint8Array | undefined): ProductLine | undefined {
  if (vek === undefined) return undefined;
  return unlessUnreadable(() => {
    const [certificate] = readCertificates(vek);
    return certificate === undefined ? undefined : parseVek(certificate).line;
  });
}

/** A guest’s list that cannot be read is passed over: what counts is whether the broker has one that holds. */
function listsOf(lists: readonly Uint8Array[]): OfferedRevocationList[] {
  return lists.flatMap((bytes) => unlessUnreadable(() => readRevocationLists(bytes)) ?? []);
}

function unlessUnreadable<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof VouchsafeError) return undefined;
    throw error;
  }
}

function initDataClaims({ algorithm, data }: InitData, digest: Uint8Array): InitDataClaims {
  return { algorithm, digest: toHex(digest), data };
}

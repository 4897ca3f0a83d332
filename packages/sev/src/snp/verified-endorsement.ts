import { type Appraisal, Appraiser, type Check, verdict } from '../appraisal/appraisal.js';
import { checkTable } from '../appraisal/checks.js';
import { equalBytes } from '../bytes.js';
import type { P384PublicKey } from '../crypto/index.js';
import { VouchsafeError } from '../errors.js';
import type { X509Certificate } from '../x509/certificate.js';
import { readCertificates, readRevocationLists } from '../x509/files.js';
import { endorsementsOfTable, parseCertificateTable } from './certificate-table.js';
import { endorsementChecks } from './endorsement-checks.js';
import type { EndorsementRoot } from './endorsement-rules.js';
import type { OfferedRevocationList } from './revocation.js';
import type { Vek, VekKind } from './vek-certificate.js';
import { type EndorsementOptions, rootOfTrust, verifyEndorsement } from './verify-endorsement.js';

/** What can be given to verify a report with. Nothing is fetched. */
export interface SnpEndorsements {
  /** The certificate of the VCEK or VLEK, in DER or PEM. Left out, it is looked for among the others. */
  readonly vek?: Uint8Array | undefined;
  /** ASK or ASVK and ARK, in any order: one certificate in DER, or any number in PEM. More does no harm. */
  readonly certificates?: readonly Uint8Array[] | undefined;
  /** The table that a host gives beside a report. What is given apart from it comes first. */
  readonly certificateTable?: Uint8Array | undefined;
  /** Revocation lists in DER or PEM, or as read, with the kind of key that each covers. */
  readonly crls?: readonly (Uint8Array | OfferedRevocationList)[] | undefined;
}

/** The checks that everything else about certificates builds on. */
export const certificateFileChecks = checkTable({
  'endorsement.files': {
    title: 'certificates and lists can be read',
    protects:
      'Bytes that one reader takes for a certificate and another does not could hide what was signed.',
    hint: 'fetch them anew, with `vouchsafe kds fetch`, and give them unchanged',
    kind: 'authenticity',
  },
});

/** Every check of {@link endorse}. */
export const reportEndorsementChecks = checkTable({ ...certificateFileChecks, ...endorsementChecks });
export type ReportEndorsementCheck = keyof typeof reportEndorsementChecks;

/**
 * The outcome of verifying a VEK's endorsement, for its caller to keep and to verify many reports with. It holds for the
 * date that it was made for, and for every other date at which no certificate or list begins or ends.
 */
export class VerifiedEndorsement {
  readonly #endorsements: SnpEndorsements;
  readonly #options: EndorsementOptions;
  readonly #kind: VekKind | undefined;
  readonly #moments: readonly number[];
  /** Every check, with its result. The texts name the date that the endorsement was verified at. */
  readonly appraisal: Appraisal;
  /** The trusted root; undefined unless every check passed. */
  readonly root: EndorsementRoot | undefined;
  /** What the certificate says; undefined when it cannot be read, or there is none. */
  readonly vek: Vek | undefined;
  readonly publicKey: P384PublicKey | undefined;

  private constructor(
    inputs: { endorsements: SnpEndorsements; options: EndorsementOptions; kind: VekKind | undefined },
    outcome: Outcome,
  ) {
    this.#endorsements = inputs.endorsements;
    this.#options = inputs.options;
    this.#kind = inputs.kind;
    this.#moments = outcome.moments;
    this.appraisal = outcome.appraisal;
    this.root = outcome.root;
    this.vek = outcome.vek;
    this.publicKey = outcome.publicKey;
  }

  /** See {@link endorse}. */
  static async make(
    endorsements: SnpEndorsements,
    options: EndorsementOptions,
    kind: VekKind | undefined,
  ): Promise<VerifiedEndorsement> {
    const appraiser = new Appraiser('endorsement of a VEK', reportEndorsementChecks);
    const inputs = { endorsements, options, kind };
    const files = readFiles(endorsements, kind, appraiser);
    if (files === undefined) {
      appraiser.abandon('certificates that could not be read');
      return new VerifiedEndorsement(inputs, { appraisal: appraiser.finish(), moments: [] });
    }
    const { endorsed, root, vek } = await verifyEndorsement(files, options, appraiser);
    const trusted = endorsed ? root : undefined;
    const { publicKey } = files.vek;
    return new VerifiedEndorsement(inputs, {
      appraisal: appraiser.finish(trusted && rootOfTrust(trusted)),
      moments: momentsOf(files),
      ...(trusted === undefined ? {} : { root: trusted }),
      ...(vek === undefined ? {} : { vek }),
      ...('x' in publicKey ? { publicKey } : {}),
    });
  }

  /** Whether every check came out as required. */
  get endorsed(): boolean {
    return verdict(this.appraisal).accepted;
  }

  /** The same, verified anew where the date makes a difference. Roots and revocation mode stay. */
  async at(date: number): Promise<VerifiedEndorsement> {
    const side = (moment: number, at: number) => Math.sign(moment - at);
    const same = this.#moments.every((each) => side(each, date) === side(each, this.#options.at));
    if (same) return this;
    return VerifiedEndorsement.make(this.#endorsements, { ...this.#options, at: date }, this.#kind);
  }
}

interface Outcome {
  readonly appraisal: Appraisal;
  readonly moments: readonly number[];
  readonly root?: EndorsementRoot;
  readonly vek?: Vek;
  readonly publicKey?: P384PublicKey;
}

/**
 * Verifies VCEK ← ASK ← ARK or VLEK ← ASVK ← ARK from files, once for many reports.
 * @param kind which VEK to take from a certificate table that holds both
 * @throws InvalidArgumentError when the date is not a number of milliseconds
 */
export async function endorse(
  endorsements: SnpEndorsements,
  options: EndorsementOptions,
  kind?: VekKind,
): Promise<VerifiedEndorsement> {
  return VerifiedEndorsement.make(endorsements, options, kind);
}

/** Gives the results of an endorsement to another Appraiser, whose table holds its checks. */
export function repeatChecks(
  checks: readonly Check[],
  reporter: Pick<Appraiser<ReportEndorsementCheck>, 'report' | 'notAsked'>,
): void {
  for (const { id, status, expected = '', found = '', hint } of checks) {
    const check = id as ReportEndorsementCheck;
    if (status === 'not-asked') reporter.notAsked(check, hint ?? '');
    else
      reporter.report(check, status === 'pass', { expected, found, ...(hint === undefined ? {} : { hint }) });
  }
}

interface Files {
  readonly vek: X509Certificate;
  readonly certificates: readonly X509Certificate[];
  readonly crls: readonly OfferedRevocationList[];
}

/** Reads everything that was given; reports what cannot be read, and a missing VEK. */
function readFiles(
  endorsements: SnpEndorsements,
  kind: VekKind | undefined,
  reporter: Pick<Appraiser<ReportEndorsementCheck>, 'report'>,
): Files | undefined {
  const expected = 'well-formed X.509, with a certificate of a VCEK or VLEK';
  const fail = (found: string, hint?: string) => {
    reporter.report('endorsement.files', false, { expected, found, ...(hint === undefined ? {} : { hint }) });
    return undefined;
  };
  try {
    const { veks, certificates, crls } = parseFiles(endorsements, kind);
    const [vek] = veks;
    if (vek === undefined) return fail('no certificate of a VCEK or VLEK', howToGetVek);
    if (veks.length > 1) return fail(`${veks.length} of them, which contradict each other`, 'give one');
    const counted = `${1 + certificates.length} certificates, ${crls.length} revocation lists`;
    reporter.report('endorsement.files', true, { expected, found: counted });
    return { vek, certificates, crls };
  } catch (error) {
    if (!(error instanceof VouchsafeError)) throw error;
    return fail(error.message);
  }
}

const howToGetVek = 'get it with `vouchsafe kds fetch`, or from the host, and give it with --vek FILE';

function parseFiles(given: SnpEndorsements, kind: VekKind | undefined) {
  const entries = parseCertificateTable(given.certificateTable ?? new Uint8Array());
  const offered = (['VCEK', 'VLEK'] as const).filter((each) => entries.some((entry) => entry.kind === each));
  const table = endorsementsOfTable(entries, kind ?? offered[0] ?? 'VCEK');
  const vekFiles = given.vek === undefined ? [] : [given.vek];
  const own = vekFiles.flatMap((bytes) => readCertificates(bytes, 'VEK'));
  const others = (given.certificates ?? []).flatMap((bytes, i) =>
    readCertificates(bytes, `certificate file ${i + 1}`),
  );
  const fromTable = (table.vek === undefined ? [] : [table.vek]).flatMap((bytes) =>
    readCertificates(bytes, 'VEK of the table'),
  );
  const hosted = table.certificates.flatMap((bytes) => readCertificates(bytes, 'certificate of the table'));
  const lists = [...(given.crls ?? []), ...table.revocationLists].flatMap((list, i) =>
    list instanceof Uint8Array ? readRevocationLists(list, `revocation list ${i + 1}`) : [list],
  );
  // A file named as the VEK's may hold its chain, too. One that holds no VEK is left for the checks to refuse.
  const named = own.some(isVek) ? own.filter(isVek) : own;
  const sources = [named, others.filter(isVek), fromTable];
  const veks = sources.find((source) => source.length > 0) ?? [];
  const distinct = veks.filter((each, i) => veks.findIndex(({ raw }) => equalBytes(raw, each.raw)) === i);
  return {
    veks: distinct,
    certificates: [...own, ...others, ...hosted].filter((each) => !isVek(each) && !named.includes(each)),
    crls: lists,
  };
}

/** Every authority's key is RSA. */
const isVek = ({ publicKey }: X509Certificate): boolean => 'x' in publicKey;

/** Between two of these moments, no date makes a difference to the outcome. */
function momentsOf({ vek, certificates, crls }: Files): number[] {
  return [
    ...[vek, ...certificates].flatMap(({ notBefore, notAfter }) => [notBefore, notAfter]),
    ...crls.flatMap(({ thisUpdate, nextUpdate }) =>
      nextUpdate === undefined ? [thisUpdate] : [thisUpdate, nextUpdate],
    ),
  ];
}

import { type KdsClient, requestsForReport } from '@vouchsafe/kds';
import {
  endorsementsOfTable,
  findEndorsementChain,
  type OfferedRevocationList,
  type ProductLine,
  parseCertificateTable,
  parseRevocationList,
  parseSnpReport,
  parseVek,
  type RevocationMode,
  readCertificates,
  reportForLine,
  type SnpEndorsements,
  UnavailableError,
  type VekKind,
  VouchsafeError,
  type X509Certificate,
} from '@vouchsafe/sev';

export interface Completed extends SnpEndorsements {
  /** What could not be fetched and can be done without. */
  readonly notes: readonly string[];
}

/**
 * Fetches what is missing to verify a report: the VCEK, its chain, and the revocation list. Evidence that cannot be read
 * is left as it is: verifying says what is wrong with it.
 * @throws UnavailableError when the service does not give what cannot be done without
 */
export async function fetchMissing(
  service: KdsClient,
  report: Uint8Array,
  given: SnpEndorsements,
  options: { readonly revocation: RevocationMode; readonly line?: ProductLine | undefined },
): Promise<Completed> {
  const present = unlessUnreadable(() => read(report, given, options.line));
  if (present === undefined) return { ...given, notes: [] };
  const { parsed, line, vek, others } = present;
  if (line === undefined) {
    const note = `nothing was fetched: version ${parsed.version} does not say the product line; name it with --product`;
    return { ...given, notes: [note] };
  }
  const requests = requestsForReport({ ...parsed, line });
  const fetchedVek =
    vek === undefined && requests.vek !== undefined ? await service.endorsement(requests.vek) : undefined;
  const leaf = vek ?? (fetchedVek === undefined ? undefined : readCertificates(fetchedVek, 'fetched VEK')[0]);
  const { ask, ark } = leaf === undefined ? {} : await findEndorsementChain(leaf, others);
  const chain = ask === undefined || ark === undefined ? [await service.endorsement(requests.chain)] : [];
  const { list, notes } = await fetchList();
  return {
    ...given,
    ...(fetchedVek === undefined ? {} : { vek: fetchedVek }),
    certificates: [...(given.certificates ?? []), ...chain],
    crls: [...(given.crls ?? []), ...list],
    notes: [...(leaf === undefined ? [whyNoVek[requests.kind]] : []), ...notes],
  };

  async function fetchList(): Promise<{ list: OfferedRevocationList[]; notes: string[] }> {
    const isGiven = (given.crls ?? []).length > 0;
    if (isGiven || options.revocation === 'skip') return { list: [], notes: [] };
    try {
      const der = await service.endorsement(requests.crl);
      return { list: [{ ...parseRevocationList(der), covers: requests.kind }], notes: [] };
    } catch (error) {
      if (!(error instanceof UnavailableError) || options.revocation === 'require') throw error;
      return { list: [], notes: [`no revocation list: ${error.message}`] };
    }
  }
}

const whyNoVek: Readonly<Record<VekKind, string>> = {
  VCEK: 'no certificate was fetched: the host masks the chip id, so it has to hand over the VCEK’s',
  VLEK: 'no certificate was fetched: the cloud operator has to hand over the VLEK’s',
};

function read(report: Uint8Array, given: SnpEndorsements, named: ProductLine | undefined) {
  const parsed = parseSnpReport(report, { line: named });
  const { signingKey } = parsed.signerInfo;
  if (signingKey === 'none') return undefined;
  const table = endorsementsOfTable(
    parseCertificateTable(given.certificateTable ?? new Uint8Array()),
    signingKey,
  );
  const files = [given.vek ?? [], given.certificates ?? [], table.vek ?? [], table.certificates].flat();
  const certificates = files.flatMap((bytes) => readCertificates(bytes as Uint8Array));
  const isVek = ({ publicKey }: X509Certificate) => 'x' in publicKey;
  const vek = certificates.find(isVek);
  const others = certificates.filter((each) => !isVek(each));
  const line = parsed.line ?? (vek === undefined ? undefined : parseVek(vek).line);
  const onLine = line === undefined || parsed.line === line ? parsed : reportForLine(parsed, line);
  return { parsed: onLine, line, vek, others };
}

function unlessUnreadable<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof VouchsafeError) return undefined;
    throw error;
  }
}

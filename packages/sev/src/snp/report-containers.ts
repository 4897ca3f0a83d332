import { isZero } from '../bytes.js';
import { named, reserved, u32 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { MalformedError } from '../errors.js';
import { snpReportSize } from './attestation-report.js';
import { parseCertificateTable } from './certificate-table.js';

const responseStatuses = { SUCCESS: 0, INVALID_PARAM: 0x16, INVALID_KEY: 0x27 } as const;

/** What the firmware answers to a guest's request for a report; the report follows. */
export const reportResponseHead = structure(
  { name: 'REPORT_RSP', size: 0x20, source: 'SEV-SNP firmware ABI, MSG_REPORT_RSP' },
  {
    status: named(
      0x00,
      4,
      responseStatuses,
      'whether the firmware made a report; INVALID_PARAM most often: a VMPL above the caller’s',
    ),
    reportSize: u32(0x04, 'bytes of the report that follows'),
    reserved: reserved(0x08, 24),
  },
);

/** What stands before the report that Azure's paravisor keeps in NV index 0x01400001 of the guest's vTPM. */
export const hclHead = structure(
  { name: 'HCL container', size: 0x20, source: 'Azure HCL report, header' },
  {
    magic: u32(0x00, 'the letters HCLA', { equals: 0x414c4348 }),
    version: u32(0x04, 'version of the container'),
    contentSize: u32(0x08, 'bytes of header, report and runtime data together'),
    kind: u32(0x0c, 'kind of report: 2 is SEV-SNP', { equals: 2 }),
    reserved: reserved(0x10, 16),
  },
);

/** What stands after that report; the claims follow, and their SHA-256 begins the REPORT_DATA. */
export const hclRuntimeData = structure(
  { name: 'HCL runtime data', size: 0x14, source: 'Azure HCL report, runtime data' },
  {
    dataSize: u32(0x00, 'bytes of this header and the claims'),
    version: u32(0x04, 'version of the runtime data'),
    kind: u32(0x08, 'kind of report: 2 is SEV-SNP', { equals: 2 }),
    hash: u32(0x0c, 'hash of the claims in REPORT_DATA: 1 is SHA-256', { equals: 1 }),
    claimsSize: u32(0x10, 'bytes of the claims'),
  },
);

/** A report as somebody hands it over, taken out of what it was wrapped in. */
export interface FoundReport {
  /** `report`: bare, as configfs-tsm's `outblob` gives it. */
  readonly form: 'report' | 'report and certificate table' | 'REPORT_RSP' | 'HCL container';
  /** 1184 bytes, not yet read. */
  readonly report: Uint8Array;
  /** Of the report in the input. */
  readonly offset: number;
  /** The certificate table that followed the report, not yet read. */
  readonly certificateTable?: Uint8Array;
  /** The runtime claims of an HCL container: JSON, to be compared with REPORT_DATA by their SHA-256. */
  readonly claims?: Uint8Array;
}

/**
 * Finds the report in what tools and interfaces give: the report alone; the report with the host's certificate table
 * after it (go-sev-guest); the answer of `/dev/sev-guest`, padded or not; the container of Azure's vTPM.
 * @throws MalformedError for anything else, and for an answer in which the firmware refused
 */
export function findSnpReport(input: Uint8Array): FoundReport {
  const bytes = new Uint8Array(input);
  if (bytes.length === snpReportSize) return { form: 'report', report: bytes, offset: 0 };
  if (bytes.length > hclHead.size && startsWithMagic(bytes)) return fromHclContainer(bytes);
  if (bytes.length >= reportResponseHead.size && startsWithStatus(bytes)) return fromResponse(bytes);
  if (bytes.length > snpReportSize) return fromExtendedReport(bytes);
  const expected = `a report of ${snpReportSize} bytes, or what holds one`;
  throw malformed('SNP attestation report', 'length', 0, expected, `${bytes.length} bytes`);
}

function startsWithMagic(bytes: Uint8Array): boolean {
  const magic = new TextEncoder().encode('HCLA');
  return magic.every((letter, i) => bytes[i] === letter);
}

/** An answer begins with a status; a report with its version, which is none of those numbers. */
function startsWithStatus(bytes: Uint8Array): boolean {
  const first = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return Object.values(responseStatuses).some((status) => status === first);
}

function fromExtendedReport(bytes: Uint8Array): FoundReport {
  const certificateTable = bytes.slice(snpReportSize);
  parseCertificateTable(certificateTable, {
    offset: snpReportSize,
    path: 'certificate table after a report',
  });
  const report = bytes.slice(0, snpReportSize);
  return { form: 'report and certificate table', report, offset: 0, certificateTable };
}

function fromResponse(bytes: Uint8Array): FoundReport {
  const name = reportResponseHead.name;
  const { status, reportSize } = reportResponseHead.parseAt(bytes, 0);
  if (status !== 'SUCCESS') throw malformed(name, 'status', 0, 'SUCCESS', status);
  if (reportSize !== snpReportSize) {
    const at = reportResponseHead.offsetOf('reportSize');
    throw malformed(name, 'reportSize', at, String(snpReportSize), String(reportSize));
  }
  const end = reportResponseHead.size + snpReportSize;
  if (bytes.length < end) throw malformed(name, 'length', 0, `${end} bytes or more`, `${bytes.length} bytes`);
  requirePadding(bytes, end, name);
  return {
    form: 'REPORT_RSP',
    report: bytes.slice(reportResponseHead.size, end),
    offset: reportResponseHead.size,
  };
}

function fromHclContainer(bytes: Uint8Array): FoundReport {
  const name = hclHead.name;
  const { contentSize } = hclHead.parseAt(bytes, 0);
  const runtimeAt = hclHead.size + snpReportSize;
  const claimsAt = runtimeAt + hclRuntimeData.size;
  if (contentSize < claimsAt || contentSize > bytes.length) {
    const expected = `${claimsAt} to ${bytes.length}`;
    throw malformed(name, 'contentSize', hclHead.offsetOf('contentSize'), expected, String(contentSize));
  }
  const { dataSize, claimsSize } = hclRuntimeData.parseAt(bytes, runtimeAt);
  const refuseSize = (field: 'dataSize' | 'claimsSize', expected: number, found: number) => {
    if (found !== expected)
      throw malformed(
        hclRuntimeData.name,
        field,
        runtimeAt + hclRuntimeData.offsetOf(field),
        String(expected),
        String(found),
      );
  };
  refuseSize('dataSize', contentSize - runtimeAt, dataSize);
  refuseSize('claimsSize', contentSize - claimsAt, claimsSize);
  requirePadding(bytes, contentSize, name);
  return {
    form: 'HCL container',
    report: bytes.slice(hclHead.size, runtimeAt),
    offset: hclHead.size,
    claims: bytes.slice(claimsAt, contentSize),
  };
}

function requirePadding(bytes: Uint8Array, from: number, name: string): void {
  if (isZero(bytes.subarray(from))) return;
  throw malformed(name, 'padding', from, 'zero up to the end', 'other bytes');
}

function malformed(name: string, field: string, offset: number, expected: string, found: string) {
  return new MalformedError({ structure: name, field, offset, expected, found });
}

import { type JsonValue, type RcarRuntimeData, reportDataOf, snpEvidenceJson } from '@vouchsafe/protocol';
import {
  type CertificateTableEntry,
  equalBytes,
  MalformedError,
  parseCertificateTable,
  parsePem,
  parseSnpReport,
  UnavailableError,
} from '@vouchsafe/sev';
import type { AttestationDevice } from '../attestation/attestation-device.js';

/** What a broker's client needs of an attestation device. */
export type ReportSource = Pick<AttestationDevice, 'report'>;

/**
 * Evidence that binds this runtime data: a fresh report over its digest, and the host's certificates.
 * @throws UnavailableError when the device does not give such a report
 */
export async function snpEvidenceFor(device: ReportSource, runtimeData: RcarRuntimeData): Promise<JsonValue> {
  const reportData = await reportDataOf(runtimeData);
  const { report, certificateTable } = await device.report({ reportData });
  const parsed = parseSnpReport(report, {
    location: { offset: 0, path: 'report of the attestation device' },
  });
  if (!equalBytes(parsed.reportData, reportData))
    throw new UnavailableError('attestation device', 'its report is over other data than it was asked for');
  return snpEvidenceJson({ report, certificates: certificatesOf(certificateTable) });
}

/**
 * What the host says beside a report is a help and no more: the broker has sources of its own, so a table that cannot be
 * read is left out.
 */
export function certificatesOf(table: Uint8Array | undefined): CertificateTableEntry[] {
  if (table === undefined) return [];
  try {
    return parseCertificateTable(table).flatMap((entry) => {
      const der = derOf(entry.bytes);
      return der === undefined ? [] : [{ ...entry, bytes: der }];
    });
  } catch (error) {
    if (error instanceof MalformedError) return [];
    throw error;
  }
}

/** Hosts put PEM in as well; the format wants DER, and one certificate of a kind. */
function derOf(bytes: Uint8Array): Uint8Array | undefined {
  const text = new TextDecoder().decode(bytes);
  if (!text.startsWith('-----BEGIN CERTIFICATE-----')) return bytes;
  const [first, ...others] = parsePem(text, 'CERTIFICATE');
  return others.length === 0 ? first : undefined;
}

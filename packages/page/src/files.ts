import {
  findSnpReport,
  fromBase64,
  fromHex,
  parseCertificateTable,
  parseReportPolicy,
  type ReportPolicy,
  readCertificates,
  readRevocationLists,
  VouchsafeError,
  type X509Certificate,
} from '@vouchsafe/sev';

/** What a file turned out to hold. */
export type Recognised =
  | { readonly kind: 'report'; readonly report: Uint8Array; readonly certificateTable?: Uint8Array }
  | {
      readonly kind: 'certificates';
      readonly bytes: Uint8Array;
      readonly certificates: readonly X509Certificate[];
    }
  | { readonly kind: 'revocation list'; readonly bytes: Uint8Array }
  | { readonly kind: 'certificate table'; readonly bytes: Uint8Array }
  | { readonly kind: 'policy'; readonly policy: ReportPolicy }
  | { readonly kind: 'unknown'; readonly why: string };

const maximumFile = 4 * 1024 * 1024;

/** Says what a file holds, by its bytes: its name and type are whatever a browser makes of them. */
export function recognise(bytes: Uint8Array): Recognised {
  if (bytes.length > maximumFile) return { kind: 'unknown', why: 'it is larger than 4 MiB' };
  const text = asciiOf(bytes);
  try {
    if (text?.startsWith('{')) return { kind: 'policy', policy: parseReportPolicy(text) };
    if (text?.includes('-----BEGIN X509 CRL-----')) return revocationList(bytes);
    if (text?.includes('-----BEGIN CERTIFICATE-----')) return certificates(bytes);
  } catch (error) {
    return unknown(error);
  }
  return recogniseBinary(text === undefined ? bytes : decoded(text, bytes));
}

function recogniseBinary(bytes: Uint8Array): Recognised {
  const readers = [
    () => certificates(bytes),
    () => revocationList(bytes),
    () => ({ kind: 'certificate table' as const, bytes: table(bytes) }),
    () => report(bytes),
  ];
  let last: unknown;
  for (const read of readers) {
    try {
      return read();
    } catch (error) {
      last = error;
    }
  }
  return unknown(last);
}

function certificates(bytes: Uint8Array): Recognised {
  return { kind: 'certificates', bytes, certificates: readCertificates(bytes) };
}

function revocationList(bytes: Uint8Array): Recognised {
  readRevocationLists(bytes);
  return { kind: 'revocation list', bytes };
}

function table(bytes: Uint8Array): Uint8Array {
  parseCertificateTable(bytes);
  return bytes;
}

function report(bytes: Uint8Array): Recognised {
  const { report: found, certificateTable } = findSnpReport(bytes);
  return { kind: 'report', report: found, ...(certificateTable === undefined ? {} : { certificateTable }) };
}

/** The text of a file of printable ASCII; undefined for any other. */
function asciiOf(bytes: Uint8Array): string | undefined {
  const printable = bytes.every((byte) => (byte >= 0x20 && byte < 0x7f) || (byte >= 0x09 && byte <= 0x0d));
  return printable ? new TextDecoder().decode(bytes).trim() : undefined;
}

function decoded(text: string, bytes: Uint8Array): Uint8Array {
  for (const read of [() => fromHex(text.replaceAll(/\s/g, '')), () => fromBase64(text)]) {
    try {
      return read();
    } catch {
      // the next encoding, or none
    }
  }
  return bytes;
}

function unknown(error: unknown): Recognised {
  if (!(error instanceof VouchsafeError)) throw error;
  return { kind: 'unknown', why: error.message };
}

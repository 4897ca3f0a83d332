import type { Location } from '../codec/index.js';
import { MalformedError } from '../errors.js';
import { parseCertificate, type X509Certificate } from './certificate.js';
import { looksLikePem, type PemLabel, parsePem } from './pem.js';
import { parseRevocationList, type X509RevocationList } from './revocation-list.js';

/** More than any chain in PEM; the readers inside have limits of their own. */
const maximumFile = 1048576;

/**
 * The certificates of a file or of a certificate table's entry: one in DER, or any number in PEM.
 * @throws MalformedError
 */
export function readCertificates(bytes: Uint8Array, path = 'certificate file'): X509Certificate[] {
  return contents(bytes, 'CERTIFICATE', path).map((der, i, all) =>
    parseCertificate(der, place(path, i, all)),
  );
}

/**
 * The revocation lists of a file: one in DER, or any number in PEM.
 * @throws MalformedError
 */
export function readRevocationLists(bytes: Uint8Array, path = 'revocation list file'): X509RevocationList[] {
  return contents(bytes, 'X509 CRL', path).map((der, i, all) =>
    parseRevocationList(der, place(path, i, all)),
  );
}

function contents(bytes: Uint8Array, label: PemLabel, path: string): Uint8Array[] {
  if (bytes.length > maximumFile) {
    const expected = `at most ${maximumFile} bytes`;
    throw new MalformedError({
      structure: path,
      field: 'length',
      offset: 0,
      expected,
      found: `${bytes.length}`,
    });
  }
  if (!looksLikePem(bytes)) return [bytes];
  return parsePem(new TextDecoder('latin1').decode(bytes), label, path);
}

function place(path: string, index: number, all: readonly unknown[]): Location {
  return { offset: 0, path: all.length === 1 ? path : `${path}, block ${index + 1}` };
}

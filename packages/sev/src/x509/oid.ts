/** The object identifiers that AMD's certificates and revocation lists use, in dotted form. */
export const oids = {
  commonName: '2.5.4.3',
  countryName: '2.5.4.6',
  localityName: '2.5.4.7',
  stateOrProvinceName: '2.5.4.8',
  organizationName: '2.5.4.10',
  organizationalUnitName: '2.5.4.11',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  basicConstraints: '2.5.29.19',
  crlNumber: '2.5.29.20',
  issuingDistributionPoint: '2.5.29.28',
  crlDistributionPoints: '2.5.29.31',
  authorityKeyIdentifier: '2.5.29.35',
  rsaEncryption: '1.2.840.113549.1.1.1',
  mgf1: '1.2.840.113549.1.1.8',
  rsassaPss: '1.2.840.113549.1.1.10',
  ecPublicKey: '1.2.840.10045.2.1',
  secp384r1: '1.3.132.0.34',
  sha1: '1.3.14.3.2.26',
  sha256: '2.16.840.1.101.3.4.2.1',
  sha384: '2.16.840.1.101.3.4.2.2',
  sha512: '2.16.840.1.101.3.4.2.3',
  /** AMD's arc for the extensions of VCEK and VLEK certificates. */
  amdVek: '1.3.6.1.4.1.3704.1',
} as const;

const names = new Map<string, string>(Object.entries(oids).map(([name, oid]) => [oid, name]));

/** `keyUsage (2.5.29.15)`, or the dotted form alone for a stranger. */
export function oidName(oid: string): string {
  const name = names.get(oid);
  return name === undefined ? oid : `${name} (${oid})`;
}

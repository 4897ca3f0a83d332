import { equalBytes } from '../bytes.js';
import {
  parseAuthorityKeyId,
  parseBasicConstraints,
  parseCrlDistributionPoints,
  parseKeyUsage,
  parseSubjectKeyId,
} from '../x509/ca-extensions.js';
import type { X509Certificate } from '../x509/certificate.js';
import type { X509Extension } from '../x509/extension.js';
import { oidName, oids } from '../x509/oid.js';
import type { AuthorityRules } from './endorsement-rules.js';

const critical: readonly string[] = [oids.basicConstraints, oids.keyUsage];

/** What the extensions of an authority's certificate must be, in words. */
export function authorityExtensionsText(rules: AuthorityRules): string {
  const limit = rules.pathLength === undefined ? '' : `, path length ${rules.pathLength}`;
  const by = rules.hasAuthorityKeyId ? ', naming the ARK’s key' : '';
  return `an authority${limit}, for ${rules.keyUsages.join(' and ')}, lists at ${rules.crlUri}${by}`;
}

/**
 * Every way in which the extensions of an authority's certificate differ from the rules, in words. Each extension that
 * the rules speak of is there once, critical where it must be, and none beside them.
 * @throws MalformedError when one cannot be read
 */
export function authorityExtensionFaults(
  certificate: Pick<X509Certificate, 'extensions'>,
  rules: AuthorityRules,
  issuer: Pick<X509Certificate, 'extensions'> | undefined,
): string[] {
  const readers = readersFor(rules, issuer);
  const { extensions } = certificate;
  const missing = [...readers.keys()].filter((oid) => !extensions.some((each) => each.oid === oid));
  return [
    ...missing.map((oid) => `no ${oidName(oid)}`),
    ...extensions.flatMap((extension, i) => {
      const { oid } = extension;
      const fault = readers.get(oid);
      if (fault === undefined) return [`also ${oidName(oid)}`];
      if (extensions.findIndex((each) => each.oid === oid) !== i) return [`${oidName(oid)} twice`];
      if (extension.critical !== critical.includes(oid))
        return [`${oidName(oid)} ${extension.critical ? 'critical' : 'not critical'}`];
      const found = fault(extension);
      return found === undefined ? [] : [found];
    }),
  ];
}

type Fault = (extension: X509Extension) => string | undefined;

function readersFor(
  rules: AuthorityRules,
  issuer: Pick<X509Certificate, 'extensions'> | undefined,
): ReadonlyMap<string, Fault> {
  const readers = new Map<string, Fault>([
    [
      oids.basicConstraints,
      (extension) => {
        const { ca, pathLength } = parseBasicConstraints(extension);
        if (!ca) return 'no authority';
        return pathLength === rules.pathLength ? undefined : `path length ${pathLength ?? 'without limit'}`;
      },
    ],
    [
      oids.keyUsage,
      (extension) => {
        const usages = parseKeyUsage(extension).join(' and ');
        return usages === rules.keyUsages.join(' and ') ? undefined : `for ${usages || 'nothing'}`;
      },
    ],
    [
      oids.subjectKeyIdentifier,
      (extension) => {
        parseSubjectKeyId(extension);
        return undefined;
      },
    ],
    [
      oids.crlDistributionPoints,
      (extension) => {
        const uris = parseCrlDistributionPoints(extension).join(' and ');
        return uris === rules.crlUri ? undefined : `lists at ${uris || 'no address'}`;
      },
    ],
  ]);
  if (rules.hasAuthorityKeyId)
    readers.set(oids.authorityKeyIdentifier, (extension) => {
      const signer = issuer?.extensions.find(({ oid }) => oid === oids.subjectKeyIdentifier);
      const same =
        signer !== undefined && equalBytes(parseAuthorityKeyId(extension), parseSubjectKeyId(signer));
      return same ? undefined : 'naming another key than the ARK’s';
    });
  return readers;
}

import type { X509Certificate } from '../x509/certificate.js';
import { authorityIdentity, type EndorsementRoot } from './endorsement-rules.js';

/** What to do about a root that was not among the trusted ones; undefined for a stranger's. */
export function untrustedRootHint(
  ark: X509Certificate,
  roots: readonly EndorsementRoot[],
): string | undefined {
  const identity = authorityIdentity(ark.subject.attributes);
  if (identity === undefined) return undefined;
  const what = `${identity.kind === 'amd' ? 'AMD’s' : 'a development'} root for ${identity.line}`;
  const sameKind = roots.some(({ kind }) => kind === identity.kind);
  if (identity.kind === 'amd') {
    return sameKind
      ? `this claims to be ${what} and is not it`
      : `this claims to be ${what}; to trust AMD’s, leave out --root`;
  }
  const software = `this is ${what}: the processor is software, no chip protects the guest`;
  return `${software}; if that is what you want, name ${sameKind ? 'this very root' : 'it'} with --root FILE`;
}

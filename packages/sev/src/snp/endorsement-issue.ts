import type { P384PublicKey, RsaPublicKey } from '../crypto/index.js';
import {
  authorityKeyIdExtension,
  basicConstraintsExtension,
  crlDistributionPointsExtension,
  keyUsageExtension,
  subjectKeyIdExtension,
} from '../x509/ca-extensions.js';
import type { NewCertificate } from '../x509/certificate.js';
import { crlNumberExtension, type NewRevocationList } from '../x509/revocation-list.js';
import { type AuthorityRole, type EndorsementRules, endorsementRules } from './endorsement-rules.js';
import type { ProductLine } from './product-line.js';
import { type Vek, vekExtensionsOf } from './vek-certificate.js';

/**
 * What a development authority signs, by the very rules that verification holds it to: pass the results to
 * `encodeCertificate` and `encodeRevocationList` with the issuer's signature.
 */
export function developmentEndorsementRules(line: ProductLine): EndorsementRules {
  return endorsementRules('development', line);
}

export interface Validity {
  /** Milliseconds since 1970, whole seconds. */
  readonly notBefore: number;
  /** Milliseconds since 1970, whole seconds. */
  readonly notAfter: number;
}

export interface NewAuthority extends Validity {
  readonly role: AuthorityRole;
  /** 1 or more, another one for each certificate that the ARK signs. */
  readonly serial: bigint;
  readonly publicKey: RsaPublicKey;
  /** Any bytes that tell this key from others, 20 as a rule. */
  readonly keyId: Uint8Array;
  /** The ARK's; its own for an ARK. */
  readonly issuerKeyId: Uint8Array;
}

/** The certificate of an ARK, ASK or ASVK, for the ARK to sign. */
export function newAuthorityCertificate(rules: EndorsementRules, authority: NewAuthority): NewCertificate {
  const { role, keyId, issuerKeyId, ...fields } = authority;
  const { subject, keyUsages, pathLength, crlUri, hasAuthorityKeyId } = rules.authorities[role];
  return {
    ...fields,
    issuer: rules.authorities.ARK.subject,
    subject,
    signatureAlgorithm: rules.signatureAlgorithm,
    extensions: [
      subjectKeyIdExtension(keyId),
      ...(hasAuthorityKeyId ? [authorityKeyIdExtension(issuerKeyId)] : []),
      basicConstraintsExtension({ ca: true, pathLength }),
      keyUsageExtension(keyUsages),
      crlDistributionPointsExtension([crlUri]),
    ],
  };
}

/** The certificate of a VCEK, for the ASK to sign, or of a VLEK, for the ASVK. */
export function newVekCertificate(
  rules: EndorsementRules,
  key: Validity & { readonly vek: Vek; readonly publicKey: P384PublicKey },
): NewCertificate {
  const { vek, ...fields } = key;
  const { subject, issuer, serial } = rules.veks[vek.kind];
  return {
    ...fields,
    serial,
    issuer: rules.authorities[issuer].subject,
    subject,
    signatureAlgorithm: rules.signatureAlgorithm,
    extensions: vekExtensionsOf(vek),
  };
}

/** A revocation list, for the ARK to sign. */
export function newEndorsementRevocationList(
  rules: EndorsementRules,
  list: Pick<NewRevocationList, 'thisUpdate' | 'nextUpdate' | 'revoked'> & {
    /** Counts the lists of one address. */
    readonly number: number;
    /** The ARK's key id. */
    readonly issuerKeyId: Uint8Array;
  },
): NewRevocationList {
  const { number, issuerKeyId, ...fields } = list;
  return {
    ...fields,
    issuer: rules.authorities.ARK.subject,
    signatureAlgorithm: rules.signatureAlgorithm,
    extensions: [authorityKeyIdExtension(issuerKeyId), crlNumberExtension(number)],
  };
}

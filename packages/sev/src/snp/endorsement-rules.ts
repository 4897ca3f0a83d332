import type { X509KeyUsage } from '../x509/ca-extensions.js';
import { commonName, type NameAttribute, sameName } from '../x509/name.js';
import { amdSignatureAlgorithm, type RsaPssAlgorithm } from '../x509/signature-algorithm.js';
import { isProductLine, type ProductLine } from './product-line.js';
import type { VekKind } from './vek-certificate.js';

/** The authorities of a product line: the root, and one signing key for each kind of VEK. */
export type AuthorityRole = 'ARK' | 'ASK' | 'ASVK';

/** What the certificate of an authority must say. */
export interface AuthorityRules {
  readonly subject: readonly NameAttribute[];
  readonly keyUsages: readonly X509KeyUsage[];
  /** How many authorities may stand below it; undefined where the certificate sets no limit. */
  readonly pathLength: number | undefined;
  /** The one address of its CRL distribution point. */
  readonly crlUri: string;
  readonly hasAuthorityKeyId: boolean;
}

/** What the certificate of a VEK must say beside its extensions. */
export interface VekRules {
  readonly subject: readonly NameAttribute[];
  readonly issuer: 'ASK' | 'ASVK';
  readonly serial: bigint;
}

/** The rules of one product line, whose certificates one ARK signs. */
export interface EndorsementRules {
  /** `AMD, Milan` or `Vouchsafe Development, Milan`. */
  readonly name: string;
  readonly kind: 'amd' | 'development';
  readonly line: ProductLine;
  /** Of every certificate and revocation list. */
  readonly signatureAlgorithm: RsaPssAlgorithm;
  /** Of every authority's RSA key. */
  readonly modulusBits: number;
  readonly exponent: number;
  readonly authorities: Readonly<Record<AuthorityRole, AuthorityRules>>;
  readonly veks: Readonly<Record<VekKind, VekRules>>;
}

/** A trust anchor, as data: one ARK, and the rules under it. */
export interface EndorsementRoot extends EndorsementRules {
  /** SHA-256 of the ARK's certificate in DER, lower-case hexadecimal. */
  readonly arkSha256: string;
}

export interface AuthorityIdentity {
  readonly kind: 'amd' | 'development';
  readonly line: ProductLine;
  readonly role: AuthorityRole;
}

/** The rules that the first name which claims to be an authority's would be held to; undefined where none does. */
export function claimedRules(names: readonly (readonly NameAttribute[])[]): EndorsementRules | undefined {
  const [claim] = names.flatMap((name) => authorityIdentity(name) ?? []);
  return claim === undefined ? undefined : endorsementRules(claim.kind, claim.line);
}

/** Who a name says it is: a claim, until signature and root have been checked. */
export function authorityIdentity(name: readonly NameAttribute[]): AuthorityIdentity | undefined {
  const match = /^(ARK|SEV-VLEK|SEV)-(\w+)$/.exec(commonName(name) ?? '');
  const role = roleOfPrefix.get(match?.[1] ?? '');
  const line = match?.[2] ?? '';
  if (role === undefined || !isProductLine(line)) return undefined;
  const kind = (['amd', 'development'] as const).find((each) =>
    sameName(authorityName(each, line, role), name),
  );
  return kind === undefined ? undefined : { kind, line, role };
}

const prefixes = { ARK: 'ARK', ASK: 'SEV', ASVK: 'SEV-VLEK' } as const;
const roleOfPrefix = new Map<string, AuthorityRole>([
  ['ARK', 'ARK'],
  ['SEV', 'ASK'],
  ['SEV-VLEK', 'ASVK'],
]);

/** In the order in which AMD encodes them; the common name follows. */
const organizations: Readonly<Record<'amd' | 'development', readonly NameAttribute[]>> = {
  amd: [
    { type: 'OU', value: 'Engineering' },
    { type: 'C', value: 'US' },
    { type: 'L', value: 'Santa Clara' },
    { type: 'ST', value: 'CA' },
    { type: 'O', value: 'Advanced Micro Devices' },
  ],
  development: [
    { type: 'OU', value: 'Software Processors' },
    { type: 'O', value: 'Vouchsafe Development' },
  ],
};

/** A development service runs anywhere, so its certificates name a host that exists nowhere. */
const services = { amd: 'https://kdsintf.amd.com', development: 'https://kds.vouchsafe.invalid' } as const;

function nameWith(kind: 'amd' | 'development', value: string): readonly NameAttribute[] {
  return [...organizations[kind], { type: 'CN', value }];
}

function authorityName(kind: 'amd' | 'development', line: ProductLine, role: AuthorityRole) {
  return nameWith(kind, `${prefixes[role]}-${line}`);
}

/**
 * The rules of a product line. AMD's ASKs may sign certificates and no lists: revocation is the ARK's.
 * Source: AMD's certificates.
 */
export function endorsementRules(kind: 'amd' | 'development', line: ProductLine): EndorsementRules {
  const authority = (role: AuthorityRole): AuthorityRules => ({
    subject: authorityName(kind, line, role),
    keyUsages: role === 'ARK' ? ['keyCertSign', 'cRLSign'] : ['keyCertSign'],
    pathLength: role === 'ARK' ? undefined : 0,
    crlUri: `${services[kind]}/${role === 'ASVK' ? 'vlek' : 'vcek'}/v1/${line}/crl`,
    hasAuthorityKeyId: role !== 'ARK',
  });
  return {
    name: `${{ amd: 'AMD', development: 'Vouchsafe Development' }[kind]}, ${line}`,
    kind,
    line,
    signatureAlgorithm: amdSignatureAlgorithm,
    modulusBits: 4096,
    exponent: 65537,
    authorities: { ARK: authority('ARK'), ASK: authority('ASK'), ASVK: authority('ASVK') },
    veks: {
      VCEK: { subject: nameWith(kind, 'SEV-VCEK'), issuer: 'ASK', serial: 0n },
      VLEK: { subject: nameWith(kind, 'SEV-VLEK'), issuer: 'ASVK', serial: 0n },
    },
  };
}

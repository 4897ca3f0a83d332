import { createHash } from 'node:crypto';
import { generateP384, type P384PrivateKey } from '../crypto/index.js';
import {
  developmentEndorsementRules,
  newAuthorityCertificate,
  newEndorsementRevocationList,
  newVekCertificate,
} from '../snp/endorsement-issue.js';
import type { AuthorityRole, EndorsementRoot, EndorsementRules } from '../snp/endorsement-rules.js';
import type { ProductLine } from '../snp/product-line.js';
import { tcbLayout } from '../snp/tcb-version.js';
import { certificateFingerprint } from '../snp/trust-anchor.js';
import type { Vek, VekKind } from '../snp/vek-certificate.js';
import {
  encodeCertificate,
  type NewCertificate,
  parseCertificate,
  type X509Certificate,
} from '../x509/certificate.js';
import {
  encodeRevocationList,
  type NewRevocationList,
  parseRevocationList,
  type X509RevocationList,
} from '../x509/revocation-list.js';
import { amdSignatureAlgorithm, type RsaPssAlgorithm } from '../x509/signature-algorithm.js';
import { type CaKey, keptCaKey, signAsCa } from './development-platform.js';

/** Midnight of a day, milliseconds since 1970. */
export const day = (text: string): number => Date.parse(`${text}T00:00:00Z`);

const roles = ['ARK', 'ASK', 'ASVK'] as const;
const serials = { ARK: 0x990000n, ASK: 0x990001n, ASVK: 0x990101n } as const;

/** What a test may change in a certificate before it is signed. */
export type Change<T> = (fields: T) => T;

/** A complete endorsement service in a test's hands: it also signs what no honest one would. */
export interface TestEndorser {
  readonly rules: EndorsementRules;
  readonly root: EndorsementRoot;
  readonly keys: Readonly<Record<AuthorityRole, CaKey>>;
  readonly ark: X509Certificate;
  readonly ask: X509Certificate;
  readonly asvk: X509Certificate;
  readonly vekKey: P384PrivateKey;
  authority(role: AuthorityRole, change?: Change<NewCertificate>): Promise<X509Certificate>;
  vek(kind: VekKind, change?: Change<NewCertificate>, content?: Partial<Vek>): Promise<X509Certificate>;
  crl(change?: Change<NewRevocationList>): Promise<X509RevocationList>;
}

export type EndorserKeys = Readonly<Record<AuthorityRole, CaKey>>;

/** The same keys in every run. 2048 bits unless the true size matters. */
export function testEndorserKeys(modulusBits: 2048 | 4096 = 2048): EndorserKeys {
  return {
    ARK: keptCaKey('ark', modulusBits),
    ASK: keptCaKey('ask', modulusBits),
    ASVK: keptCaKey('asvk', modulusBits),
  };
}

export async function makeEndorser(line: ProductLine, keys: EndorserKeys): Promise<TestEndorser> {
  const rules = { ...developmentEndorsementRules(line), modulusBits: keys.ARK.modulusBits };
  const vekKey = await generateP384();
  const validity = { notBefore: day('2026-01-01'), notAfter: day('2046-01-01') };
  const signer = (role: AuthorityRole, algorithm: RsaPssAlgorithm = amdSignatureAlgorithm) => {
    // The size that stands for the hash in the older certificates that this helper was made for.
    const modulusBits = algorithm.hash === 'SHA-256' ? 2048 : 4096;
    return (data: Uint8Array) => signAsCa({ ...keys[role], modulusBits }, data);
  };
  const authority: TestEndorser['authority'] = async (role, change = (fields) => fields) => {
    const fields = newAuthorityCertificate(rules, {
      ...validity,
      role,
      serial: serials[role],
      publicKey: keys[role],
      keyId: keyId(keys[role]),
      issuerKeyId: keyId(keys.ARK),
    });
    const changed = change(fields);
    return parseCertificate(await encodeCertificate(changed, signer('ARK', changed.signatureAlgorithm)));
  };
  const vek: TestEndorser['vek'] = async (kind, change = (fields) => fields, content = {}) => {
    const fields = newVekCertificate(rules, {
      notBefore: day('2026-02-01'),
      notAfter: day(kind === 'VCEK' ? '2033-02-01' : '2027-02-01'),
      publicKey: vekKey.publicKey,
      vek: { ...vekOf(kind, line), ...content },
    });
    const changed = change(fields);
    const sign = signer(rules.veks[kind].issuer, changed.signatureAlgorithm);
    return parseCertificate(await encodeCertificate(changed, sign));
  };
  const crl: TestEndorser['crl'] = async (change = (fields) => fields) => {
    const fields = newEndorsementRevocationList(rules, {
      thisUpdate: day('2026-03-01'),
      nextUpdate: day('2026-04-01'),
      revoked: [],
      number: 1,
      issuerKeyId: keyId(keys.ARK),
    });
    const changed = change(fields);
    return parseRevocationList(
      await encodeRevocationList(changed, signer('ARK', changed.signatureAlgorithm)),
    );
  };
  const [ark, ask, asvk] = await Promise.all(roles.map((role) => authority(role)));
  const root = { ...rules, arkSha256: await certificateFingerprint(ark!) };
  return { rules, root, keys, ark: ark!, ask: ask!, asvk: asvk!, vekKey, authority, vek, crl };
}

/** What a VEK of a product line says, unless a test says otherwise. */
export function vekOf(kind: VekKind, line: ProductLine): Vek {
  const turin = tcbLayout(line) === 'turin';
  return {
    kind,
    line,
    productName: line === 'Milan' && kind === 'VCEK' ? 'Milan-B0' : line,
    tcb: { ...(turin ? { fmc: 1 } : {}), bootloader: 4, tee: 0, snp: 24, microcode: 217 },
    ...(kind === 'VCEK'
      ? { hwid: Uint8Array.from({ length: turin ? 8 : 64 }, (_, i) => i + 1) }
      : { cspId: 'CN=cc-test.vouchsafe.invalid' }),
  };
}

const keyId = ({ modulus }: CaKey): Uint8Array => new Uint8Array(createHash('sha1').update(modulus).digest());

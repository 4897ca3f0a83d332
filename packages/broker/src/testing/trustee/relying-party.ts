import { createPublicKey, type JsonWebKey, type KeyObject, verify, X509Certificate } from 'node:crypto';

/**
 * A service that takes attestation tokens, as Trustee's own key broker decides whether to believe one. Written from the
 * description of its behaviour, and from nothing of ours.
 */
export interface RelyingParty {
  /** Anchors for keys that stand in a token's header. */
  readonly trustedCertificates?: readonly X509Certificate[];
  /** JWK sets, by which a `kid` is looked up. */
  readonly trustedKeys?: readonly { readonly keys: readonly Jwk[] }[];
  readonly now: () => number;
}

export type Jwk = JsonWebKey & {
  readonly alg?: string;
  readonly kid?: string;
  readonly x5c?: readonly string[];
};
type Members = Readonly<Record<string, unknown>>;

/**
 * Believes a token or not.
 * @returns its claims
 * @throws Error that says why not
 */
export function believe(
  token: string,
  { trustedCertificates = [], trustedKeys = [], now }: RelyingParty,
): Members {
  const [head = '', payload = '', signature = '', ...more] = token.split('.');
  if (more.length > 0) throw new Error('not a compact JWS');
  const { jwk, kid, alg } = partOf(head);
  const trusted =
    jwk === undefined ? keyNamed(String(kid), trustedKeys) : endorsedKey(jwk as Jwk, trustedCertificates);
  if (trusted.alg !== alg) throw new Error(`alg ${String(alg)}, while the key is for ${trusted.alg}`);
  if (!isSigned(trusted, `${head}.${payload}`, Buffer.from(signature, 'base64url')))
    throw new Error('the signature is not of that key');
  const claims = partOf(payload);
  const seconds = now() / 1000;
  if (typeof claims['exp'] !== 'number' || claims['exp'] < seconds) throw new Error('expired');
  if (typeof claims['nbf'] === 'number' && claims['nbf'] > seconds) throw new Error('not valid yet');
  return claims;
}

/** A key that stands in a header counts only where its certificates lead to an anchor. @throws Error */
export function endorsedKey(jwk: Jwk, anchors: readonly X509Certificate[]): Jwk {
  if (jwk.x5c === undefined || jwk.x5c.length === 0) throw new Error('no x5c');
  const chain = jwk.x5c.map((der) => new X509Certificate(Buffer.from(der, 'base64')));
  const [leaf] = chain as [X509Certificate];
  if (!leaf.publicKey.equals(publicKeyOf(jwk))) throw new Error('the leaf has another key than the JWK');
  const pool = [...chain.slice(1), ...anchors];
  let current = leaf;
  for (let steps = 0; steps <= pool.length; steps++) {
    const reached = anchors.some((anchor) => anchor.fingerprint256 === current.fingerprint256);
    if (reached || anchors.some((anchor) => isIssuedBy(current, anchor))) return jwk;
    const next = pool.find((issuer) => issuer !== current && isIssuedBy(current, issuer));
    if (next === undefined) break;
    current = next;
  }
  throw new Error('the certificates lead to no anchor');
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

function keyNamed(kid: string, sets: NonNullable<RelyingParty['trustedKeys']>): Jwk {
  const found = sets.flatMap(({ keys }) => keys).find((key) => key.kid === kid);
  if (found === undefined) throw new Error('no trusted key of that name');
  if (found.alg === undefined) throw new Error('the trusted key names no algorithm');
  return found;
}

function isSigned(jwk: Jwk, text: string, signature: Uint8Array): boolean {
  const key = publicKeyOf(jwk);
  const data = Buffer.from(text);
  if (jwk.alg === 'ES256') return verify('sha256', data, { key, dsaEncoding: 'ieee-p1363' }, signature);
  if (jwk.alg === 'RS256') return verify('sha256', data, key, signature);
  throw new Error(`algorithm ${jwk.alg}`);
}

function publicKeyOf(jwk: Jwk): KeyObject {
  return createPublicKey({ key: jwk, format: 'jwk' });
}

/** Where the guest's key may stand in a token; the first that is there counts. */
const teeKeyPaths = [
  ['tdx', 'attester_runtime_data', 'tee-pubkey'],
  ['tdx', 'attester_user_data', 'tee-pubkey'],
  ['customized_claims', 'runtime_data', 'tee-pubkey'],
  ['submods', 'cpu0', 'ear.veraison.annotated-evidence', 'runtime_data_claims', 'tee-pubkey'],
  ['tee-pubkey'],
];

/** The key that a token vouches for; undefined for a token without one. */
export function teeKeyIn(claims: Members): unknown {
  const at = (path: readonly string[]) =>
    path.reduce<unknown>(
      (inside, name) =>
        typeof inside === 'object' && inside !== null ? (inside as Members)[name] : undefined,
      claims,
    );
  return teeKeyPaths.map(at).find((found) => found !== undefined);
}

function partOf(text: string): Members {
  return JSON.parse(Buffer.from(text, 'base64url').toString('utf8')) as Members;
}

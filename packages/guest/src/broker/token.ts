import { createPublicKey, verify } from 'node:crypto';
import {
  canonicalJson,
  fromBase64Url,
  type JsonValue,
  parseStrictJson,
  type TeeKey,
  toBase64Url,
  utf8Text,
} from '@vouchsafe/protocol';
import { digest, MalformedError, UnavailableError } from '@vouchsafe/sev';

/** What a guest reads of its token: relying parties verify it, to a guest it is a ticket. */
export interface TokenTimes {
  /** How long it is good, in milliseconds, by the broker's own clock. */
  readonly lifetime: number;
}

const structure = 'attestation token';

type Members = { readonly [name: string]: JsonValue };

/**
 * How long a token is good: `exp` less `iat` or `nbf`, so that the guest's clock, which its host sets, has no say.
 * @throws MalformedError for a token without them
 */
export function tokenTimes(token: string): TokenTimes {
  const { exp, iat, nbf } = partOf(token, 1);
  const start = iat ?? nbf;
  if (typeof exp !== 'number' || typeof start !== 'number' || !(exp > start))
    return refuse(structure, 'exp', 'an end after its beginning');
  return { lifetime: (exp - start) * 1000 };
}

/**
 * Proves that the broker behind this connection is the one that was pinned: the token is signed (ES256) by a key with a
 * pinned thumbprint, and says that it was made for this guest's key.
 * @param keys the broker's published keys, a JWK set; unverified, as the pins decide
 * @param pinned SHA-256 thumbprints of signing keys (RFC 7638, base64url)
 * @throws UnavailableError when the token is of another broker, or for another guest
 */
export async function requirePinnedToken(
  token: string,
  keys: JsonValue,
  pinned: readonly string[],
  teeKey: TeeKey,
): Promise<void> {
  const { alg, kid } = partOf(token, 0);
  if (alg !== 'ES256') refuse(structure, 'alg', 'ES256', 'another algorithm');
  const [head, payload, signature] = token.split('.') as [string, string, string];
  for (const jwk of jwksOf(keys)) {
    if (jwk['kid'] !== kid) continue;
    const { crv, kty, x, y } = jwk;
    if (kty !== 'EC' || crv !== 'P-256' || typeof x !== 'string' || typeof y !== 'string') continue;
    const required = { crv, kty, x, y };
    const thumbprint = await digest('sha256', new TextEncoder().encode(canonicalJson(required)));
    if (!pinned.includes(toBase64Url(thumbprint))) continue;
    if (!isSignedBy(required, `${head}.${payload}`, fromBase64Url(signature))) continue;
    requireBinding(partOf(token, 1), teeKey);
    return;
  }
  throw new UnavailableError('key broker', 'its token is not signed by a key that is pinned', {
    hint: 'if the broker has changed its signing key, pin the thumbprint of the new one as well',
  });
}

function isSignedBy(jwk: Record<string, string>, text: string, signature: Uint8Array): boolean {
  try {
    const key = createPublicKey({ key: jwk, format: 'jwk' });
    return verify('sha256', new TextEncoder().encode(text), { key, dsaEncoding: 'ieee-p1363' }, signature);
  } catch {
    return false;
  }
}

/** A token that was made for another guest could be handed on by whoever stands in between. */
function requireBinding(claims: Members, teeKey: TeeKey): void {
  const path = ['submods', 'cpu0', 'ear.veraison.annotated-evidence', 'runtime_data_claims', 'tee-pubkey'];
  const found = path.reduce<JsonValue | undefined>(
    (inside, name) => (isMembers(inside) && Object.hasOwn(inside, name) ? inside[name] : undefined),
    claims,
  );
  if (found !== undefined && canonicalJson(found) === canonicalJson(teeKey)) return;
  throw new UnavailableError('key broker', 'its token was made for another guest key');
}

function jwksOf(keys: JsonValue): readonly Members[] {
  const list = isMembers(keys) ? keys['keys'] : undefined;
  if (!Array.isArray(list)) return refuse('JWK set', 'keys', 'a list of keys');
  return (list as readonly JsonValue[]).filter(isMembers);
}

function partOf(token: string, index: 0 | 1): Members {
  const bytes = fromBase64Url(token.split('.')[index] ?? '');
  const value = parseStrictJson(structure, utf8Text(structure, bytes));
  return isMembers(value) ? value : refuse(structure, '/', 'an object');
}

function isMembers(value: JsonValue | undefined): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refuse(what: string, field: string, expected: string, found = 'something else'): never {
  throw new MalformedError({ structure: what, field, offset: 0, expected, found });
}

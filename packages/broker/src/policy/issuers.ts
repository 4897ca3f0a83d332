import { parseStrictJson, utf8Text } from '@vouchsafe/protocol';
import { InvalidArgumentError } from '@vouchsafe/sev';
import type { JWK } from 'jose';
import { z } from 'zod';
import type { ReferenceIssuer } from '../reference-values/signed-document.js';
import type { StoredPolicy } from './policy-store.js';

const base64Url = z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'expected 32 bytes in base64url');

/** Public keys that reference values are signed with: Ed25519 or P-256. */
export const issuerKeySchema = z.discriminatedUnion('kty', [
  z.strictObject({
    kty: z.literal('OKP'),
    crv: z.literal('Ed25519'),
    x: base64Url,
    kid: z.string().max(128).optional(),
  }),
  z.strictObject({
    kty: z.literal('EC'),
    crv: z.literal('P-256'),
    x: base64Url,
    y: base64Url,
    kid: z.string().max(128).optional(),
  }),
]);

export const issuerKeysSchema = z.array(issuerKeySchema).min(1).max(16);

/** The issuer that is stored under a name: a list of public JWKs. @throws InvalidArgumentError, MalformedError */
export function parseIssuer({ name, content }: Pick<StoredPolicy, 'name' | 'content'>): ReferenceIssuer {
  const json = parseStrictJson('issuer', utf8Text('issuer', content));
  const parsed = issuerKeysSchema.safeParse(json);
  if (!parsed.success) throw new InvalidArgumentError('issuer', `${name} has no list of public keys`);
  return { name, keys: parsed.data as readonly JWK[] };
}

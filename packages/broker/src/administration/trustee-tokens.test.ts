import { exportJWK, generateKeyPair, type JWK } from 'jose';
import { beforeAll, expect, it } from 'vitest';
import type { Role } from './roles.js';
import { trusteeAuthenticator } from './trustee-tokens.js';

let publicKey: JWK;
let privateKey: JWK;
beforeAll(async () => {
  const pair = await generateKeyPair('ES256', { extractable: true });
  [publicKey, privateKey] = [await exportJWK(pair.publicKey), await exportJWK(pair.privateKey)];
});

const provider = () => ({ name: 'p', keys: [publicKey], roles: { admin: ['admin'] as Role[] } });

it('an identity provider is taken with public keys, and roles that there are', () => {
  expect(() => trusteeAuthenticator([provider()])).not.toThrow();
});

it.each<[string, RegExp, () => object]>([
  ['no key', /a public key at least/, () => ({ keys: [] })],
  ['a private key', /found a private one/, () => ({ keys: [privateKey] })],
  ['a shared key', /cannot say who signed/, () => ({ keys: [{ kty: 'oct', k: 'AAAA' }] })],
  ['a role that is none', /owner is no role/, () => ({ roles: { admin: ['owner'] } })],
  ['none for tokens without a role', /owner is no role/, () => ({ withoutRole: ['owner'] })],
])('an identity provider is refused with %s', (_, message, changes) => {
  expect(() => trusteeAuthenticator([{ ...provider(), ...changes() }])).toThrow(message);
});

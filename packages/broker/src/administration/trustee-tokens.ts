import { InvalidArgumentError } from '@vouchsafe/sev';
import { createLocalJWKSet, errors, type JWK, type JWTPayload, jwtVerify } from 'jose';
import type { Principal } from './admin-tokens.js';
import { UnauthenticatedError } from './refused.js';
import { isRole, type Role } from './roles.js';

/**
 * Whose JWTs administer the Trustee endpoints. Keys are configured, never fetched: an operator who wants another
 * provider's keys puts its JWKS here.
 */
export interface TrusteeIdentityProvider {
  /** For the record. */
  readonly name: string;
  /** Public keys: Ed25519, EC P-256 or P-384, RSA of 2048 bits or more. */
  readonly keys: readonly JWK[];
  /** Compared where given. */
  readonly issuer?: string;
  /** Compared where given. */
  readonly audience?: string;
  /** Which roles here a `role` claim stands for. A role that is not listed is nobody's. */
  readonly roles: Readonly<Record<string, readonly Role[]>>;
  /** Roles of tokens without a `role` claim, as coco_keyprovider signs them; without it they are refused. */
  readonly withoutRole?: readonly Role[];
}

const algorithms = ['EdDSA', 'Ed25519', 'ES256', 'ES384', 'RS256', 'RS384', 'RS512'];

/** Reads the providers once. @throws InvalidArgumentError for a private key, a symmetric one, or a role that is none */
export function trusteeAuthenticator(
  providers: readonly TrusteeIdentityProvider[],
): (token: string, now: number) => Promise<Principal> {
  const known = providers.flatMap((provider) => {
    requireProvider(provider);
    // A set for each key: one token must not be ambiguous because two keys could have signed it.
    return provider.keys.map((key) => ({ provider, key: createLocalJWKSet({ keys: [key] }) }));
  });

  return async (token, now) => {
    let refusal = new UnauthenticatedError('unknown');
    for (const { provider, key } of known) {
      const { issuer, audience } = provider;
      try {
        const { payload } = await jwtVerify(token, key, {
          algorithms,
          currentDate: new Date(now),
          requiredClaims: ['exp'],
          ...(issuer === undefined ? {} : { issuer }),
          ...(audience === undefined ? {} : { audience }),
        });
        return principalOf(provider, payload);
      } catch (error) {
        if (!(error instanceof errors.JOSEError)) throw error;
        if (error instanceof errors.JWTExpired) refusal = new UnauthenticatedError('expired');
      }
    }
    throw refusal;
  };
}

function principalOf(
  { name, roles, withoutRole }: TrusteeIdentityProvider,
  { role, sub }: JWTPayload & { readonly role?: unknown },
): Principal {
  const named = typeof role === 'string' && Object.hasOwn(roles, role) ? roles[role] : undefined;
  const mapped = role === undefined ? withoutRole : named;
  if (mapped === undefined) throw new UnauthenticatedError('role');
  const subject = (sub ?? '').replaceAll(/\p{Cc}/gu, '').slice(0, 100);
  return { kind: 'trustee-jwt', id: name, name: subject || name, roles: mapped };
}

function requireProvider({ name, keys, roles, withoutRole = [] }: TrusteeIdentityProvider): void {
  const refuse = (problem: string) => new InvalidArgumentError(`identity provider ${name}`, problem);
  if (keys.length === 0) throw refuse('expected a public key at least');
  for (const key of keys) {
    if (key.kty === 'oct') throw refuse('a shared key cannot say who signed');
    if ('d' in key) throw refuse('expected public keys, found a private one');
  }
  for (const role of [...Object.values(roles).flat(), ...withoutRole])
    if (!isRole(role)) throw refuse(`${String(role)} is no role`);
}

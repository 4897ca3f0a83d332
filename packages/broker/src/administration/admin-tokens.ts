import { createHash } from 'node:crypto';
import {
  constantTimeEqual,
  InvalidArgumentError,
  openSecret,
  type RandomSource,
  Secret,
  toHex,
} from '@vouchsafe/sev';
import { UnauthenticatedError } from './refused.js';
import { isRole, type Role } from './roles.js';

/** A token as it is kept: not the token, which nobody can compute from this. Times are milliseconds since 1970. */
export interface StoredAdminToken {
  /** 16 lower-case hexadecimal digits; the token begins with it. */
  readonly id: string;
  /** For people: whose it is. */
  readonly name: string;
  readonly roles: readonly Role[];
  /** SHA-256 of the token's 32 random bytes. */
  readonly digest: Uint8Array;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly revokedAt: number | undefined;
}

/** Keeps the tokens where every replica finds them. `Tx` is the caller's transaction. */
export interface AdminTokenRepository<Tx> {
  add(tx: Tx, token: StoredAdminToken): Promise<void>;
  find(tx: Tx, id: string): Promise<StoredAdminToken | undefined>;
  /** The newest first. */
  list(tx: Tx): Promise<readonly StoredAdminToken[]>;
  /** False when there is no such token, or it was revoked before. */
  revoke(tx: Tx, id: string, at: number): Promise<boolean>;
}

/** Who asks for something, as the record names them. */
export interface Principal {
  readonly kind: 'token' | 'trustee-jwt';
  readonly id: string;
  readonly name: string;
  readonly roles: readonly Role[];
}

export interface NewAdminToken {
  readonly name: string;
  readonly roles: readonly string[];
  /** Milliseconds. */
  readonly lifetime: number;
}

/** 90 days: who needs more has a machine that can ask for a new one. */
export const longestTokenLifetime = 90 * 24 * 3_600_000;

const prefix = 'vouchsafe';
const shape = /^vouchsafe_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/;

/**
 * Makes a token: `vouchsafe_<16 hexadecimal digits>_<32 random bytes in base64url>`. The secret is what its bearer
 * presents; it is shown once and kept by nobody here.
 * @throws InvalidArgumentError for no name, no role or one that does not exist, or a lifetime that is too long
 */
export function makeAdminToken(
  { name, roles, lifetime }: NewAdminToken,
  { random, now }: { readonly random: RandomSource; readonly now: number },
): { readonly token: Secret; readonly stored: StoredAdminToken } {
  if (!/^\P{Cc}{1,100}$/u.test(name))
    throw new InvalidArgumentError('name', 'expected 1 to 100 characters without control characters');
  const held = [...new Set(roles)].filter(isRole);
  if (held.length === 0 || held.length !== new Set(roles).size)
    throw new InvalidArgumentError('roles', 'expected one or more of admin, policy, auditor, reader');
  if (!Number.isSafeInteger(lifetime) || lifetime < 1 || lifetime > longestTokenLifetime)
    throw new InvalidArgumentError('lifetime', 'expected more than nothing, and 90 days at most');
  const id = toHex(random(8));
  const key = random(32);
  const stored = {
    id,
    name,
    roles: held,
    digest: digestOf(key),
    createdAt: now,
    expiresAt: now + lifetime,
    revokedAt: undefined,
  };
  const text = `${prefix}_${id}_${Buffer.from(key.buffer, key.byteOffset, key.length).toString('base64url')}`;
  key.fill(0);
  return { token: Secret.take(new TextEncoder().encode(text)), stored };
}

/** The text that the bearer of a token presents. */
export const tokenText = (token: Secret): string => new TextDecoder().decode(openSecret(token));

/**
 * Who presents this token. Unknown, expired and revoked tokens are refused alike.
 * @throws UnauthenticatedError
 */
export async function authenticate<Tx>(
  tx: Tx,
  tokens: Pick<AdminTokenRepository<Tx>, 'find'>,
  text: string,
  now: number,
): Promise<Principal> {
  const [, id, secret] = shape.exec(text) ?? [];
  if (id === undefined || secret === undefined) throw new UnauthenticatedError('malformed');
  const key = Uint8Array.from(Buffer.from(secret, 'base64url'));
  const digest = digestOf(key);
  key.fill(0);
  const stored = await tokens.find(tx, id);
  if (stored === undefined || !constantTimeEqual(digest, stored.digest))
    throw new UnauthenticatedError('unknown');
  if (stored.revokedAt !== undefined) throw new UnauthenticatedError('revoked');
  if (now >= stored.expiresAt) throw new UnauthenticatedError('expired');
  return { kind: 'token', id, name: stored.name, roles: stored.roles };
}

const digestOf = (key: Uint8Array): Uint8Array => Uint8Array.from(createHash('sha256').update(key).digest());

import { inTransaction } from '../state/database.js';
import type { PublicSigningKey } from '../token/signing-keys.js';
import {
  makeAdminToken,
  type NewAdminToken,
  type Principal,
  type StoredAdminToken,
  tokenText,
} from './admin-tokens.js';
import { type AdministrationContext, byWhom } from './context.js';
import { NotFoundError } from './refused.js';

export interface AdminTokenDescription {
  readonly id: string;
  readonly name: string;
  readonly roles: readonly string[];
  /** ISO 8601. */
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly revokedAt?: string;
}

/** Makes a token. It is in the answer and nowhere else. @throws InvalidArgumentError */
export async function issueToken(
  { state, tokens, random }: Pick<AdministrationContext, 'state' | 'tokens' | 'random'>,
  wanted: NewAdminToken,
  by: string,
): Promise<AdminTokenDescription & { readonly token: string }> {
  const { token, stored } = makeAdminToken(wanted, { random, now: state.clock.now() });
  try {
    await inTransaction(state.db, async (tx) => {
      await tokens.add(tx.query, stored);
      const { id, name, roles, expiresAt } = stored;
      state.record.append(tx, {
        kind: 'administration',
        subject: `token ${id}`,
        body: {
          act: 'token.issue',
          by,
          id,
          name,
          roles: [...roles],
          expiresAt: new Date(expiresAt).toISOString(),
        },
      });
    });
    return { ...described(stored), token: tokenText(token) };
  } finally {
    token.zero();
  }
}

/** @throws NotFoundError when there is none that could be revoked */
export async function revokeToken(
  { state, tokens }: AdministrationContext,
  id: string,
  who: Principal,
): Promise<void> {
  await inTransaction(state.db, async (tx) => {
    if (!(await tokens.revoke(tx.query, id, state.clock.now()))) throw new NotFoundError('token');
    state.record.append(tx, {
      kind: 'administration',
      subject: `token ${id}`,
      body: { act: 'token.revoke', by: byWhom(who), id },
    });
  });
}

export async function listTokens({ state, tokens }: AdministrationContext): Promise<AdminTokenDescription[]> {
  return (await tokens.list(state.db.query)).map(described);
}

/**
 * Makes a new key that signs tokens from now on.
 * @param overlap seconds for which tokens of the key before stay good; 0 ends them
 */
export async function rotateKey(
  { keys }: AdministrationContext,
  overlap: number,
  by: string,
): Promise<PublicSigningKey> {
  return keys.rotate(overlap * 1000, by);
}

function described({
  id,
  name,
  roles,
  createdAt,
  expiresAt,
  revokedAt,
}: StoredAdminToken): AdminTokenDescription {
  const text = (time: number) => new Date(time).toISOString();
  return {
    id,
    name,
    roles,
    createdAt: text(createdAt),
    expiresAt: text(expiresAt),
    ...(revokedAt === undefined ? {} : { revokedAt: text(revokedAt) }),
  };
}

import type { Kysely } from 'kysely';
import type { StateKeys } from '../secrets/state-keys.js';
import { isoTime } from '../state/database.js';
import type { Tables } from '../state/tables.js';
import type { AdminTokenRepository, StoredAdminToken } from './admin-tokens.js';
import { isRole } from './roles.js';

const tableName = 'admin_tokens';
export type AdminTokenQuery = Pick<Kysely<Tables>, 'selectFrom' | 'insertInto' | 'updateTable'>;

/** Administrators' tokens in the broker's database. */
export function databaseAdminTokens(keys: StateKeys): AdminTokenRepository<AdminTokenQuery> {
  const labelPlace = (id: string) => [tableName, id, 'label'];
  const read = (found: Tables['admin_tokens']): StoredAdminToken => {
    const row = keys.requireMac(tableName, found.id, found);
    return {
      id: row.id,
      name: keys.openText(labelPlace(row.id), row.label),
      roles: row.role.split(' ').filter(isRole),
      digest: row.token_digest,
      createdAt: Date.parse(row.created_at),
      expiresAt: Date.parse(row.expires_at),
      revokedAt: row.revoked_at === null ? undefined : Date.parse(row.revoked_at),
    };
  };
  const find = (query: AdminTokenQuery, id: string) =>
    query.selectFrom(tableName).selectAll().where('id', '=', id).executeTakeFirst();

  return {
    async add(query, token) {
      const row = keys.withMac(tableName, {
        id: token.id,
        token_digest: token.digest,
        role: token.roles.join(' '),
        label: keys.sealText(labelPlace(token.id), token.name),
        created_at: isoTime(token.createdAt),
        expires_at: isoTime(token.expiresAt),
        revoked_at: null,
      });
      await query.insertInto(tableName).values(row).execute();
    },
    async find(query, id) {
      const row = await find(query, id);
      return row === undefined ? undefined : read(row);
    },
    async list(query) {
      const rows = await query.selectFrom(tableName).selectAll().execute();
      return rows.map(read).sort((a, b) => b.createdAt - a.createdAt);
    },
    async revoke(query, id, at) {
      const found = await find(query, id);
      if (found === undefined || read(found).revokedAt !== undefined) return false;
      const { mac: _, ...row } = found;
      const revoked = keys.withMac(tableName, { ...row, revoked_at: isoTime(at) });
      await query.updateTable(tableName).set(revoked).where('id', '=', id).execute();
      return true;
    },
  };
}

import type { Kysely } from 'kysely';
import type { StateKeys } from '../secrets/state-keys.js';
import { isoTime } from '../state/database.js';
import type { Tables } from '../state/tables.js';
import type { ReferenceValueRepository, StoredReference } from './repository.js';

const tableName = 'reference_values';
type Query = Pick<Kysely<Tables>, 'selectFrom' | 'insertInto'>;

/**
 * Signed documents in the broker's database, as one transaction or one moment sees it.
 * @param now milliseconds since 1970
 */
export function databaseReferenceValues(
  query: Query,
  keys: StateKeys,
  now: number,
): ReferenceValueRepository {
  const highest = async (issuer: string, name: string) => {
    const row = await query
      .selectFrom(tableName)
      .select(({ fn }) => fn.max('version').as('version'))
      .where('issuer', '=', issuer)
      .where('name', '=', name)
      .executeTakeFirst();
    return Number(row?.version ?? 0);
  };

  return {
    async list() {
      const rows = await query.selectFrom(tableName).selectAll().execute();
      return rows.map((row): StoredReference => {
        const { issuer, name, version } = keys.requireMac(
          tableName,
          `${row.issuer}/${row.name} ${row.version}`,
          row,
        );
        const document = keys.openText(place(issuer, name, version), row.document);
        return { issuer, name, version, notBefore: row.not_before, notAfter: row.not_after, document };
      });
    },
    highestVersion: highest,
    async add({ issuer, name, version, notBefore, notAfter, document }) {
      if (version <= (await highest(issuer, name))) return false;
      const row = keys.withMac(tableName, {
        issuer,
        name,
        version,
        document: keys.sealText(place(issuer, name, version), document),
        not_before: notBefore,
        not_after: notAfter,
        created_at: isoTime(now),
      });
      const added = await query
        .insertInto(tableName)
        .values(row)
        .onConflict((conflict) => conflict.columns(['issuer', 'name', 'version']).doNothing())
        .returning('version')
        .executeTakeFirst();
      return added !== undefined;
    },
  };
}

const place = (issuer: string, name: string, version: number) => [tableName, issuer, name, version];

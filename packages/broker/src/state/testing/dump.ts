import type { Database } from '../database.js';
import type { Tables } from '../tables.js';

/** In an order in which rows can be put back. */
const tables = [
  'broker_state',
  'root_keys',
  'replicas',
  'record_entries',
  'record_checkpoints',
  'resources',
  'resource_versions',
  'released',
  'resource_machines',
  'policies',
  'policy_versions',
  'reference_values',
  'signing_keys',
  'admin_tokens',
] as const satisfies readonly (keyof Tables)[];

export type TableName = (typeof tables)[number];

/** Everything in the database; calling it puts all of it back, as somebody with a copy can. */
export async function copyOf(
  db: Database,
  only: readonly TableName[] = tables,
): Promise<(into?: Database) => Promise<void>> {
  const names = tables.filter((name) => only.includes(name));
  const rows = await Promise.all(names.map(async (name) => db.query.selectFrom(name).selectAll().execute()));
  return async ({ query } = db) => {
    for (const name of [...names].reverse()) await query.deleteFrom(name).execute();
    for (const [i, name] of names.entries()) {
      for (const row of rows[i]!)
        await query
          .insertInto(name)
          .values(row as never)
          .execute();
    }
  };
}

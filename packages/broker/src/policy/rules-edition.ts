import type { Kysely } from 'kysely';
import type { Transaction } from '../state/database.js';
import type { Tables } from '../state/tables.js';

/** Changes with every change to policies and reference values, so that a replica sees with one look whether its own are old. */
const name = 'rules-edition';

/** Part of the transaction of each change. @param edition never used before */
export async function markRulesChanged(tx: Transaction, edition: string): Promise<void> {
  await tx.query
    .insertInto('broker_state')
    .values({ name, value: edition })
    .onConflict((conflict) => conflict.column('name').doUpdateSet({ value: edition }))
    .execute();
}

export async function rulesEdition(query: Pick<Kysely<Tables>, 'selectFrom'>): Promise<string> {
  const row = await query
    .selectFrom('broker_state')
    .select('value')
    .where('name', '=', name)
    .executeTakeFirst();
  return row?.value ?? '';
}

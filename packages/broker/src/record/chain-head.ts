import type { StateKeys } from '../secrets/state-keys.js';
import { refuseState } from '../state/checks.js';
import type { EndingTransaction } from '../state/conclusions.js';
import { locked, type Transaction } from '../state/database.js';
import type { Tables } from '../state/tables.js';
import { chainStart } from './entry.js';

export type ReplicaRow = Tables['replicas'];

/** The end of a replica's chain, locked until the transaction ends. @throws RefusedError (`state.row`) */
export async function lockHead(tx: EndingTransaction, keys: StateKeys, replica: string): Promise<ReplicaRow> {
  const row = await locked(
    tx,
    tx.query.selectFrom('replicas').selectAll().where('id', '=', replica),
  ).executeTakeFirst();
  return row === undefined ? refuseLost(replica) : requireHead(keys, row);
}

/** Begins a replica's chain if there is none. @throws RefusedError (`state.row`) when its end was lost */
export async function beginChain(
  tx: Transaction,
  keys: StateKeys,
  replica: string,
  at: string,
): Promise<void> {
  const values = keys.withMac('replicas', { id: replica, sequence: 0, hash: chainStart, seen_at: at });
  const inserted = await tx.query
    .insertInto('replicas')
    .values(values)
    .onConflict((conflict) => conflict.column('id').doNothing())
    .returning('id')
    .executeTakeFirst();
  if (inserted === undefined) return;
  const entry = tx.query.selectFrom('record_entries').select('sequence').where('replica', '=', replica);
  if ((await entry.limit(1).executeTakeFirst()) !== undefined) refuseLost(replica);
}

export async function moveHead(
  tx: EndingTransaction,
  keys: StateKeys,
  head: Omit<ReplicaRow, 'mac'>,
): Promise<void> {
  const { id, ...values } = keys.withMac('replicas', head);
  await tx.query.updateTable('replicas').set(values).where('id', '=', id).execute();
}

/** @throws RefusedError (`state.row`) */
export function requireHead(keys: StateKeys, row: ReplicaRow): ReplicaRow {
  return keys.requireMac('replicas', row.id, row);
}

function refuseLost(replica: string): never {
  return refuseState('database', 'state.row', {
    expected: `where the chain of replica ${replica} ends`,
    found: 'no such row, although the chain has begun',
  });
}

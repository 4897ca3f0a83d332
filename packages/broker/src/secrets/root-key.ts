import { type RandomSource, Secret, toHex } from '@vouchsafe/sev';
import { refuseState } from '../state/checks.js';
import { type Database, inTransaction, isoTime, locked, type Transaction } from '../state/database.js';
import type { MasterKey } from './master-key.js';
import { StateKeys } from './state-keys.js';

export interface OpenStateKeysOptions {
  readonly masterKey: MasterKey;
  readonly random: RandomSource;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/**
 * The keys of a database: its root key, unwrapped by the master key. A database without anything in it is given one.
 * @throws RefusedError (`state.master-key`) when the database belongs to another master key or has lost its root key
 * @throws UnavailableError when the database or the master key's holder does not answer
 */
export async function openStateKeys(db: Database, options: OpenStateKeysOptions): Promise<StateKeys> {
  const { masterKey, random } = options;
  const { databaseId, wrapped } = await inTransaction(db, (tx) => rootKeyRow(tx, options));
  const rootKey = await masterKey.unwrap(wrapped, wrapContext(databaseId));
  if (rootKey?.length !== 32) {
    rootKey?.zero();
    return refuseState(db.name, 'state.master-key', {
      expected: `a root key that master key ${masterKey.id} has wrapped for database ${databaseId}`,
      found: 'one that it cannot unwrap',
    });
  }
  try {
    return new StateKeys(databaseId, rootKey, random);
  } finally {
    rootKey.zero();
  }
}

/**
 * Wraps the root key under another master key. Running replicas go on; those that start need the new one.
 * @throws RefusedError (`state.master-key`) when `from` is not the master key of the database
 */
export async function changeMasterKey(db: Database, from: MasterKey, to: MasterKey): Promise<void> {
  await inTransaction(db, async (tx) => {
    const { databaseId, wrapped } = await existingRow(tx, from);
    const rootKey = await from.unwrap(wrapped, wrapContext(databaseId));
    if (rootKey === undefined) {
      return refuseState(db.name, 'state.master-key', {
        expected: `a root key that master key ${from.id} has wrapped`,
        found: 'one that it cannot unwrap',
      });
    }
    try {
      const rewrapped = await to.wrap(rootKey, wrapContext(databaseId));
      await tx.query.updateTable('root_keys').set({ master: to.id, wrapped: rewrapped }).execute();
    } finally {
      rootKey.zero();
    }
  });
}

const wrapContext = (databaseId: string) => `vouchsafe broker root key 1, database ${databaseId}`;

interface RootKeyRow {
  readonly databaseId: string;
  readonly wrapped: Uint8Array;
}

async function rootKeyRow(tx: Transaction, options: OpenStateKeysOptions): Promise<RootKeyRow> {
  const { masterKey, random, now } = options;
  // One of several replicas that open a new database at once makes the key; the others wait here for it.
  const newId = toHex(random(16));
  await tx.query
    .insertInto('broker_state')
    .values({ name: 'database', value: newId })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .execute();
  const { value: databaseId } = await locked(
    tx,
    tx.query.selectFrom('broker_state').select('value').where('name', '=', 'database'),
  ).executeTakeFirstOrThrow();
  if (databaseId !== newId) return existingRow(tx, masterKey);
  await requireEmpty(tx, masterKey);

  const rootKey = Secret.take(random(32));
  try {
    const wrapped = await masterKey.wrap(rootKey, wrapContext(databaseId));
    const row = { id: '1', master: masterKey.id, wrapped, created_at: isoTime(now()) };
    await tx.query.insertInto('root_keys').values(row).execute();
    return { databaseId, wrapped };
  } finally {
    rootKey.zero();
  }
}

async function existingRow(tx: Transaction, masterKey: MasterKey): Promise<RootKeyRow> {
  const state = tx.query.selectFrom('broker_state').select('value').where('name', '=', 'database');
  const database = await state.executeTakeFirst();
  const row = await locked(tx, tx.query.selectFrom('root_keys').selectAll()).executeTakeFirst();
  if (database === undefined || row === undefined) return refuseLostRoot(masterKey);
  if (row.master !== masterKey.id) {
    return refuseState('database', 'state.master-key', {
      expected: `the master key that sealed it, ${row.master}`,
      found: masterKey.id,
    });
  }
  return { databaseId: database.value, wrapped: row.wrapped };
}

/** A database that has something in it and no id has lost it. */
async function requireEmpty(tx: Transaction, masterKey: MasterKey): Promise<void> {
  for (const table of ['root_keys', 'replicas', 'resources', 'record_checkpoints'] as const) {
    const row = await tx.query
      .selectFrom(table)
      .select(tx.query.fn.countAll<number>().as('count'))
      .executeTakeFirst();
    if (Number(row?.count) > 0) refuseLostRoot(masterKey);
  }
}

function refuseLostRoot(masterKey: MasterKey): never {
  return refuseState('database', 'state.master-key', {
    expected: `a root key that master key ${masterKey.id} has wrapped`,
    found: 'none, in a database that is in use',
  });
}

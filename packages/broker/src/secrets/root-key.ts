import {
  constantTimeEqual,
  openSecret,
  type RandomSource,
  Secret,
  toHex,
  UnavailableError,
} from '@vouchsafe/sev';
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

/** Whether the database's root key is wrapped by this master key, which is asked. @throws UnavailableError */
export async function isSealedUnder(db: Database, masterKey: MasterKey): Promise<boolean> {
  const found = await inTransaction(db, storedRow);
  if (found?.master !== masterKey.id) return false;
  // Two services may call their keys by the same name.
  const rootKey = await masterKey.unwrap(found.wrapped, wrapContext(found.databaseId));
  rootKey?.zero();
  return rootKey !== undefined;
}

/**
 * Wraps the root key under another master key, if that can unwrap it again. The root key stays as it is: running
 * replicas go on, those that start need the new master key, and copies of the database from before need the old one.
 * @param note called in the transaction that does it
 * @throws RefusedError (`state.master-key`) when `from` is not the master key of the database
 * @throws UnavailableError when a key's holder does not answer, `to` does not unwrap, or somebody else was faster
 */
export async function changeMasterKey(
  db: Database,
  from: MasterKey,
  to: MasterKey,
  note: (tx: Transaction) => void = () => undefined,
): Promise<void> {
  // Before the transaction: who holds a key may take long to answer, and guests would wait.
  const { databaseId, wrapped } = await inTransaction(db, (tx) => existingRow(tx, from));
  const rewrapped = await rewrap(db, { from, to, wrapped, context: wrapContext(databaseId) });
  await inTransaction(db, async (tx) => {
    const now = await existingRow(tx, from);
    if (toHex(now.wrapped) !== toHex(wrapped))
      throw new UnavailableError(db.name, 'its master key was changed by somebody else meanwhile', {
        hint: 'look at the record: `vouchsafe broker audit tail --kind administration`',
      });
    await tx.query.updateTable('root_keys').set({ master: to.id, wrapped: rewrapped }).execute();
    note(tx);
  });
}

interface Rewrapping {
  readonly from: MasterKey;
  readonly to: MasterKey;
  readonly wrapped: Uint8Array;
  readonly context: string;
}

async function rewrap(db: Database, { from, to, wrapped, context }: Rewrapping): Promise<Uint8Array> {
  const rootKey = await from.unwrap(wrapped, context);
  if (rootKey === undefined) {
    return refuseState(db.name, 'state.master-key', {
      expected: `a root key that master key ${from.id} has wrapped`,
      found: 'one that it cannot unwrap',
    });
  }
  let again: Secret | undefined;
  try {
    const rewrapped = await to.wrap(rootKey, context);
    // A service may allow to encrypt and not to decrypt: the database would be closed for good.
    again = await to.unwrap(rewrapped, context);
    if (again === undefined || !constantTimeEqual(openSecret(again), openSecret(rootKey)))
      throw new UnavailableError(`master key ${to.id}`, 'it does not give back what it has wrapped', {
        hint: 'nothing was changed; make sure that the key encrypts and decrypts for this broker',
      });
    return rewrapped;
  } finally {
    again?.zero();
    rootKey.zero();
  }
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

async function storedRow(tx: Transaction): Promise<(RootKeyRow & { readonly master: string }) | undefined> {
  const state = tx.query.selectFrom('broker_state').select('value').where('name', '=', 'database');
  const database = await state.executeTakeFirst();
  const row = await locked(tx, tx.query.selectFrom('root_keys').selectAll()).executeTakeFirst();
  if (database === undefined || row === undefined) return undefined;
  return { databaseId: database.value, master: row.master, wrapped: row.wrapped };
}

async function existingRow(tx: Transaction, masterKey: MasterKey): Promise<RootKeyRow> {
  const row = await storedRow(tx);
  if (row === undefined) return refuseLostRoot(masterKey);
  if (row.master !== masterKey.id) {
    return refuseState('database', 'state.master-key', {
      expected: `the master key that sealed it, ${row.master}`,
      found: masterKey.id,
      hint:
        'give the master key that the database was made with; if it was changed since, let broker.toml name the new ' +
        'one: `vouchsafe broker master-key change`, given again what was given then, does',
    });
  }
  return row;
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

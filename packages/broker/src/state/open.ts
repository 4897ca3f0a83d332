import { hostname } from 'node:os';
import { type RandomSource, toHex } from '@vouchsafe/sev';
import { requireHead } from '../record/chain-head.js';
import { isSignedBy, readCheckpoint } from '../record/checkpoint.js';
import type { OutsideCopy } from '../record/outside-copy.js';
import { type BrokerRecord, openRecord } from '../record/record.js';
import type { MasterKey } from '../secrets/master-key.js';
import { type ResourceStore, resourceStore } from '../secrets/resource-store.js';
import { openStateKeys } from '../secrets/root-key.js';
import type { StateKeys } from '../secrets/state-keys.js';
import { refuseState } from './checks.js';
import { type BrokerClock, brokerClock } from './clock.js';
import { type Database, type FaultPoint, inTransaction, isoTime, locked, openDatabase } from './database.js';

export interface BrokerStateOptions {
  /** `sqlite:PATH` or `postgres://…`. */
  readonly database: string;
  /** Remains the caller's to close. */
  readonly masterKey: MasterKey;
  readonly random: RandomSource;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Name of this replica, the same after a restart: the host's name. */
  readonly replica?: string;
  /** Where the newest checkpoint of the record is kept outside the database. */
  readonly outside?: OutsideCopy;
  /** Takes the clock as it is, although the state has seen a later time; the record says so. */
  readonly acceptClock?: boolean;
  readonly checkpointEvery?: number;
  readonly checkpointInterval?: number;
  readonly onCheckpoint?: (failure: unknown) => void;
  readonly faultPoint?: FaultPoint;
}

/** Everything that the broker remembers. */
export interface BrokerState {
  readonly db: Database;
  readonly keys: StateKeys;
  readonly clock: BrokerClock;
  readonly record: BrokerRecord;
  readonly resources: ResourceStore;
  close(): Promise<void>;
}

/**
 * Opens the broker's state, and makes it in an empty database.
 * @throws RefusedError `state.master-key` for another database's key, `state.rollback` for an old copy of the database,
 * `state.row` for one that was edited, `broker.clock` for a clock that is behind
 * @throws UnavailableError when the database, the master key's holder or the outside copy cannot be reached
 */
export async function openBrokerState(options: BrokerStateOptions): Promise<BrokerState> {
  const { masterKey, random, now, outside, faultPoint, replica = hostname() } = options;
  const db = await openDatabase(options.database, faultPoint === undefined ? {} : { faultPoint });
  let keys: StateKeys | undefined;
  try {
    keys = await openStateKeys(db, { masterKey, random, now });
    if (outside !== undefined) await requireNewest(db, keys, outside);
    if (options.acceptClock === true) await acceptClock(db, keys, now());
    const clock = brokerClock(now, await highestTime(db, keys));
    const record = await openRecord({ ...options, db, keys, clock, replica });
    await record.appendAlone({
      kind: 'broker',
      body: {
        event: 'opened',
        outside: outside?.name ?? null,
        ...(options.acceptClock === true ? { acceptedClock: isoTime(clock.now()) } : {}),
      },
    });
    await record.checkpoint();
    return { db, keys, clock, record, resources: resourceStore({ keys, clock, record, random }), close };

    async function close(): Promise<void> {
      try {
        await record.close();
      } finally {
        keys?.zero();
        await db.close();
      }
    }
  } catch (error) {
    keys?.zero();
    await db.close();
    throw error;
  }
}

/** Is the newest checkpoint that is known outside in the database, and has every chain got at least as far? */
async function requireNewest(db: Database, keys: StateKeys, outside: OutsideCopy): Promise<void> {
  const signed = await outside.read();
  if (signed === undefined) return;
  const refuse = (expected: string, found: string) =>
    refuseState(db.name, 'state.rollback', { expected, found });
  if (!isSignedBy(keys.checkpointKey, signed)) {
    refuse(
      `a checkpoint of database ${keys.databaseId} in ${outside.name}`,
      'one that another database signed',
    );
  }
  const { number, at, heads } = readCheckpoint(signed.document);
  const known = await db.query
    .selectFrom('record_checkpoints')
    .select('document')
    .where('number', '=', number)
    .executeTakeFirst();
  if (known?.document !== signed.document) {
    const found = known === undefined ? 'a database without it' : 'another checkpoint of this number';
    refuse(`checkpoint ${number} of ${at}, which ${outside.name} holds`, found);
  }
  for (const { replica, sequence, hash } of heads) {
    if (sequence === 0) continue;
    const entry = await db.query
      .selectFrom('record_entries')
      .select('hash')
      .where('replica', '=', replica)
      .where('sequence', '=', sequence)
      .executeTakeFirst();
    if (entry === undefined || toHex(entry.hash) !== hash) {
      refuse(
        `entry ${sequence} of replica ${replica} as checkpoint ${number} knows it`,
        'a database without it',
      );
    }
  }
}

async function highestTime(db: Database, keys: StateKeys): Promise<number> {
  const rows = await db.query.selectFrom('replicas').selectAll().execute();
  return Math.max(0, ...rows.map((row) => Date.parse(requireHead(keys, row).seen_at)));
}

async function acceptClock(db: Database, keys: StateKeys, time: number): Promise<void> {
  await inTransaction(db, async (tx) => {
    const rows = tx.query.selectFrom('replicas').selectAll().orderBy('id');
    for (const row of await locked(tx, rows).execute()) {
      const { id, sequence, hash, seen_at: seenAt } = requireHead(keys, row);
      const at = isoTime(time);
      const { mac } = keys.withMac('replicas', { id, sequence, hash, seen_at: at });
      if (seenAt > at) {
        await tx.query.updateTable('replicas').set({ seen_at: at, mac }).where('id', '=', id).execute();
      }
    }
  });
}

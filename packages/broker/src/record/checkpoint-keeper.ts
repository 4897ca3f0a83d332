import { toHex } from '@vouchsafe/sev';
import type { StateKeys } from '../secrets/state-keys.js';
import { refuseState } from '../state/checks.js';
import type { BrokerClock } from '../state/clock.js';
import { type Database, inTransaction, isoTime, locked, type Transaction } from '../state/database.js';
import { requireHead } from './chain-head.js';
import {
  type Checkpoint,
  documentHash,
  isSignedBy,
  noCheckpoint,
  readCheckpoint,
  type SignedCheckpoint,
  signCheckpoint,
} from './checkpoint.js';
import type { OutsideCopy } from './outside-copy.js';

export interface CheckpointKeeperOptions {
  readonly db: Database;
  readonly keys: StateKeys;
  readonly clock: BrokerClock;
  readonly outside?: OutsideCopy;
  /** A checkpoint is due after so many entries of this replica: 256. */
  readonly checkpointEvery?: number;
  /** A checkpoint is due this long after the last one, in milliseconds: a minute. */
  readonly checkpointInterval?: number;
  /** Told when a checkpoint that was due could not be made or copied outside, and (undefined) when one could again. */
  readonly onCheckpoint?: (failure: unknown) => void;
}

/** Makes checkpoints, one at a time, when they are due and when they are asked for. */
export interface CheckpointKeeper {
  /** So many entries are durable. Does not wait for the checkpoint that this makes due. */
  noteEntries(count: number): void;
  checkpoint(): Promise<SignedCheckpoint>;
  checkpointIfDue(): Promise<void>;
  settled(): Promise<void>;
}

/** Milliseconds for which a service that keeps the outside copy is left alone when it has failed. */
const pauseAfterFailure = 5_000;

export function checkpointKeeper(options: CheckpointKeeperOptions): CheckpointKeeper {
  const { clock, outside, checkpointEvery = 256, checkpointInterval = 60_000 } = options;
  const { onCheckpoint = () => undefined } = options;
  let entries = 0;
  let madeAt = clock.now();
  let failedAt = Number.NEGATIVE_INFINITY;
  /** Ends when the checkpoint that was asked for last has been made. */
  let last: Promise<unknown> = Promise.resolve();
  let background: Promise<void> | undefined;

  async function make(): Promise<SignedCheckpoint> {
    const counted = entries;
    madeAt = clock.now();
    const signed = await inTransaction(options.db, (tx) => nextCheckpoint(tx, options));
    await outside?.write(signed);
    entries -= counted;
    return signed;
  }

  function checkpoint(): Promise<SignedCheckpoint> {
    const next = last.then(make);
    last = next.catch(() => undefined);
    return next;
  }

  function isDue(): boolean {
    if (entries === 0) return false;
    const now = clock.now();
    if (now - failedAt < pauseAfterFailure) return false;
    return entries >= checkpointEvery || now - madeAt >= checkpointInterval;
  }

  async function makeIfDue(): Promise<void> {
    try {
      if (!isDue()) return;
      await checkpoint();
      onCheckpoint(undefined);
    } catch (error) {
      failedAt = madeAt;
      onCheckpoint(error);
    }
  }

  function checkpointIfDue(): Promise<void> {
    background ??= makeIfDue().finally(() => {
      background = undefined;
    });
    return background;
  }

  return {
    noteEntries(count) {
      entries += count;
      void checkpointIfDue();
    },
    checkpoint,
    checkpointIfDue,
    async settled() {
      await background;
      await last;
    },
  };
}

/** The checkpoint after the newest, or the newest again when nothing has happened since. */
async function nextCheckpoint(
  tx: Transaction,
  { keys, clock }: CheckpointKeeperOptions,
): Promise<SignedCheckpoint> {
  // One checkpoint at a time over all replicas.
  await tx.query
    .insertInto('broker_state')
    .values({ name: 'checkpoint', value: '' })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .execute();
  await locked(
    tx,
    tx.query.selectFrom('broker_state').select('value').where('name', '=', 'checkpoint'),
  ).execute();

  const newest = await tx.query
    .selectFrom('record_checkpoints')
    .selectAll()
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst();
  if (newest !== undefined && !isSignedBy(keys.checkpointKey, newest)) {
    refuseState('database', 'state.row', {
      expected: `checkpoint ${newest.number} as the broker signed it`,
      found: 'a signature of other text, or of another key',
    });
  }
  const replicas = await tx.query.selectFrom('replicas').selectAll().orderBy('id').execute();
  const heads = replicas.map((row) => {
    const { id, sequence, hash } = requireHead(keys, row);
    return { replica: id, sequence, hash: toHex(hash) };
  });
  if (
    newest !== undefined &&
    JSON.stringify(readCheckpoint(newest.document).heads) === JSON.stringify(heads)
  ) {
    return newest;
  }
  const checkpoint: Checkpoint = {
    version: 1,
    database: keys.databaseId,
    number: (newest?.number ?? 0) + 1,
    at: isoTime(clock.now()),
    previous: newest === undefined ? noCheckpoint : documentHash(newest.document),
    heads,
  };
  const signed = signCheckpoint(keys.checkpointKey, checkpoint);
  await tx.query
    .insertInto('record_checkpoints')
    .values({ number: checkpoint.number, at: checkpoint.at, ...signed })
    .execute();
  return signed;
}

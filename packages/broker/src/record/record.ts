import type { RandomSource } from '@vouchsafe/sev';
import type { StateKeys } from '../secrets/state-keys.js';
import type { Conclusion, EndingTransaction } from '../state/conclusions.js';
import { inTransaction, isoTime, type Transaction } from '../state/database.js';
import { beginChain, lockHead, moveHead } from './chain-head.js';
import type { SignedCheckpoint } from './checkpoint.js';
import {
  type CheckpointKeeper,
  type CheckpointKeeperOptions,
  checkpointKeeper,
} from './checkpoint-keeper.js';
import { entryRow, type NewEntry } from './entry.js';

export interface RecordOptions extends CheckpointKeeperOptions {
  readonly random: RandomSource;
  /** Name of this replica; it keeps its chain when it restarts. */
  readonly replica: string;
}

/** The append-only record of what this broker did. */
export interface BrokerRecord {
  readonly replica: string;
  /**
   * Adds an entry to the transaction of what it records; it is in the record if and only if that is in the database.
   * @returns the entry's reference number
   */
  append(tx: Transaction, entry: NewEntry): string;
  /** The same in a transaction of its own. */
  appendAlone(entry: NewEntry): Promise<string>;
  /**
   * Signs where all chains end now and copies that outside. Due checkpoints are made by themselves after transactions;
   * call this before something must not be forgotten, and from a timer when the broker may be idle.
   * @throws UnavailableError when the outside copy cannot be written
   */
  checkpoint(): Promise<SignedCheckpoint>;
  /** Makes a checkpoint if one is due. Failures go to `onCheckpoint`. */
  checkpointIfDue(): Promise<void>;
  /** Waits for what is being written, makes a last checkpoint. */
  close(): Promise<void>;
}

/** @throws RefusedError (`state.row`) when the end of this replica's chain was lost */
export async function openRecord(options: RecordOptions): Promise<BrokerRecord> {
  const { db, keys, clock, random, replica } = options;
  await inTransaction(db, (tx) => beginChain(tx, keys, replica, isoTime(clock.now())));
  const keeper = checkpointKeeper(options);
  // At the end: the chain of the replica is locked until the commit, and everybody here waits for it.
  const linkAll: Conclusion<PendingEntry> = (tx, entries) => link(tx, keys, replica, entries);

  function append(tx: Transaction, entry: NewEntry): string {
    const reference = newReference(random);
    tx.conclude(linkAll, { entry, reference, at: isoTime(clock.now()) });
    tx.afterCommit(() => keeper.noteEntries(1));
    return reference;
  }

  return {
    replica,
    append,
    appendAlone: (entry) => inTransaction(db, async (tx) => append(tx, entry)),
    ...closing(keeper),
  };
}

function closing({ checkpoint, checkpointIfDue, settled }: CheckpointKeeper) {
  return {
    checkpoint,
    checkpointIfDue,
    async close() {
      await settled();
      await checkpoint();
    },
  };
}

interface PendingEntry {
  readonly entry: NewEntry;
  readonly reference: string;
  readonly at: string;
}

async function link(
  tx: EndingTransaction,
  keys: StateKeys,
  replica: string,
  entries: readonly PendingEntry[],
): Promise<void> {
  const head = await lockHead(tx, keys, replica);
  let { sequence, hash, seen_at: seenAt } = head;
  const rows = entries.map(({ entry, reference, at }) => {
    // Another transaction of this replica may have been faster with a later time.
    seenAt = at > seenAt ? at : seenAt;
    sequence += 1;
    const row = entryRow(keys, entry, { replica, sequence, reference, at: seenAt, previous: hash });
    hash = row.hash;
    return row;
  });
  await tx.query.insertInto('record_entries').values(rows).execute();
  await moveHead(tx, keys, { id: replica, sequence, hash, seen_at: seenAt });
}

/** Sixteen digits, drawn at random: nobody learns from one how many there are. */
function newReference(random: RandomSource): string {
  const number = new DataView(Uint8Array.from(random(8)).buffer).getBigUint64(0);
  const digits = (number % 10n ** 16n).toString().padStart(16, '0');
  return digits.replace(/(....)(?=.)/g, '$1-');
}

import { equalBytes, toHex } from '@vouchsafe/sev';
import type { StateKeys } from '../secrets/state-keys.js';
import type { Queries } from '../state/database.js';
import type { RecordEntryRow } from '../state/tables.js';
import type { RecordCheck } from './checks.js';
import { chainStart, entryHash, entryName, openEntry, type RecordEntry } from './entry.js';

/** Entries that are in memory at one time. */
const batch = 200;

/** One replica's chain, from its first entry on; ends early where rows cannot be read. */
export async function* readChain(
  { query }: Queries,
  replica: string,
): AsyncGenerator<RecordEntryRow, void, undefined> {
  let after = Number.MIN_SAFE_INTEGER;
  for (;;) {
    const rows = await query
      .selectFrom('record_entries')
      .selectAll()
      .where('replica', '=', replica)
      .where('sequence', '>', after)
      .orderBy('sequence')
      .limit(batch)
      .execute();
    yield* rows;
    const last = rows.at(-1);
    if (last === undefined || rows.length < batch) return;
    after = last.sequence;
  }
}

export interface ChainVisitor {
  readonly problem: (check: RecordCheck, text: string) => void;
  /** Every entry that could be opened. */
  readonly entry: (entry: RecordEntry) => void;
  /** Every entry's place and hash. */
  readonly place: (sequence: number, hash: string) => void;
}

export interface ChainEnd {
  readonly sequence: number;
  readonly hash: Uint8Array;
  /** Entries whose content nobody can tell. */
  readonly unopened: number;
}

/** Follows one chain and reports whatever does not fit, by entry. */
export async function verifyChain(
  queries: Queries,
  keys: StateKeys,
  replica: string,
  visitor: ChainVisitor,
): Promise<ChainEnd> {
  let sequence = 0;
  let hash: Uint8Array = chainStart;
  let at = '';
  let unopened = 0;
  try {
    for await (const row of readChain(queries, replica)) {
      const name = entryName(row);
      if (!isWellFormed(row)) {
        for (const check of ['record.chain', 'record.sealed'] as const) {
          visitor.problem(check, `${name} holds values of other types`);
        }
        sequence = row.sequence;
        unopened++;
        continue;
      }
      if (row.sequence !== sequence + 1) {
        visitor.problem(
          'record.chain',
          `${gap(sequence + 1, row.sequence - 1)} of replica ${replica} missing`,
        );
      } else if (!equalBytes(row.previous, hash)) {
        visitor.problem('record.chain', `${name} does not follow the entry before it`);
      }
      if (!equalBytes(entryHash(row), row.hash)) {
        visitor.problem('record.chain', `${name} has another hash than its content`);
      }
      const entry = openEntry(keys, row);
      if (entry === undefined) {
        visitor.problem('record.sealed', `${name} was not sealed for this place`);
        unopened++;
      } else visitor.entry(entry);
      if (row.at < at) visitor.problem('record.clock', `${name} of ${row.at} follows one of ${at}`);
      visitor.place(row.sequence, toHex(row.hash));
      ({ sequence, hash, at } = row);
    }
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    visitor.problem(
      'record.chain',
      `entries of replica ${replica} after ${sequence} cannot be read: ${error.message}`,
    );
  }
  return { sequence, hash, unopened };
}

const gap = (from: number, to: number) => (from === to ? `entry ${from}` : `entries ${from} to ${to}`);

/** SQLite takes any value in any column, from whoever edits by hand. */
function isWellFormed(row: RecordEntryRow): boolean {
  const bytes = [row.body, row.previous, row.hash, ...(row.subject === null ? [] : [row.subject])];
  const texts = [row.reference, row.at, row.kind];
  return bytes.every((each) => each instanceof Uint8Array) && texts.every((each) => typeof each === 'string');
}

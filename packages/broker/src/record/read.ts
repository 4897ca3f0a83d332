import { toBase64, toHex } from '@vouchsafe/sev';
import type { Kysely } from 'kysely';
import type { StateKeys } from '../secrets/state-keys.js';
import { refuseState } from '../state/checks.js';
import { type Database, inSnapshot, type Queries } from '../state/database.js';
import type { RecordEntryRow, Tables } from '../state/tables.js';
import { type EntryKind, entryName, openEntry, type RecordEntry, subjectDigest } from './entry.js';
import { readChain } from './verify-chain.js';

export interface EntryFilter {
  readonly kind?: EntryKind;
  readonly subject?: string;
  /** Entries of this time and later, ISO 8601. */
  readonly since?: string;
  /** So many of the newest: 50. */
  readonly limit?: number;
}

/** The newest entries, oldest first. @throws RefusedError (`state.row`) for an entry that was edited */
export async function newestEntries(
  from: Queries,
  keys: StateKeys,
  filter: EntryFilter = {},
): Promise<RecordEntry[]> {
  const { kind, subject, since, limit = 50 } = filter;
  let query = from.query.selectFrom('record_entries').selectAll();
  if (kind !== undefined) query = query.where('kind', '=', kind);
  if (subject !== undefined) query = query.where('subject', '=', subjectDigest(keys, subject));
  if (since !== undefined) query = query.where('at', '>=', since);
  const rows = await query
    .orderBy('at', 'desc')
    .orderBy('replica', 'desc')
    .orderBy('sequence', 'desc')
    .limit(limit)
    .execute();
  return rows.reverse().map((row) => opened(keys, row));
}

/** The entry of a reference number. @throws RefusedError (`state.row`) for an entry that was edited */
export async function findEntry(
  from: Queries,
  keys: StateKeys,
  reference: string,
): Promise<RecordEntry | undefined> {
  const row = await from.query
    .selectFrom('record_entries')
    .selectAll()
    .where('reference', '=', reference)
    .executeTakeFirst();
  return row === undefined ? undefined : opened(keys, row);
}

/**
 * The whole record as lines of JSON, as it is at one moment: each chain's entries, then the checkpoints. An entry comes
 * opened, with what its hash covers beside it, so that the chains can be followed without the broker: `sealed` is the
 * body as it is stored (base64).
 * @param line takes each line, without line break; the next waits for it
 */
export async function exportRecord(
  db: Database,
  keys: StateKeys,
  line: (text: string) => Promise<void> | void,
): Promise<void> {
  await inSnapshot(db, async (query) => {
    for (const replica of await replicasOf(query)) {
      for await (const row of readChain({ query }, replica)) {
        const { previous, hash, subject, body } = row;
        const evidence = {
          subjectDigest: subject === null ? null : toHex(subject),
          sealed: toBase64(body),
          previous: toHex(previous),
          hash: toHex(hash),
        };
        await line(JSON.stringify({ entry: { ...opened(keys, row), ...evidence } }));
      }
    }
    const checkpoints = query.selectFrom('record_checkpoints').selectAll().orderBy('number');
    for (const { document, signature } of await checkpoints.execute()) {
      await line(JSON.stringify({ checkpoint: document, signature: toBase64(signature) }));
    }
  });
}

async function replicasOf(query: Kysely<Tables>): Promise<string[]> {
  const rows = await query
    .selectFrom('record_entries')
    .select('replica')
    .distinct()
    .orderBy('replica')
    .execute();
  return rows.map(({ replica }) => replica);
}

function opened(keys: StateKeys, row: RecordEntryRow): RecordEntry {
  return (
    openEntry(keys, row) ??
    refuseState('record', 'state.row', {
      expected: `${entryName(row)} as the broker wrote it`,
      found: 'something else',
      hint: '`vouchsafe broker audit verify` says what else was changed',
    })
  );
}

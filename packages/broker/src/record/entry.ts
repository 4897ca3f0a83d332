import { createHash } from 'node:crypto';
import { openSecret, toHex } from '@vouchsafe/sev';
import type { StateKeys } from '../secrets/state-keys.js';
import type { RecordEntryRow } from '../state/tables.js';

/** What the record keeps. */
export const entryKinds = [
  'challenge',
  'appraisal',
  'decision',
  'release',
  'launch',
  'administration',
  'broker',
] as const;
export type EntryKind = (typeof entryKinds)[number];

export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [name: string]: Json | undefined };

/** An entry as its writer gives it. Nothing secret belongs into it: who may read the record may read all of it. */
export interface NewEntry {
  readonly kind: EntryKind;
  /** What it is about: the path of a resource, the name of a policy. Entries are found by it. */
  readonly subject?: string;
  readonly body: { readonly [name: string]: Json | undefined };
}

/** An entry as a reader gets it. */
export interface RecordEntry {
  readonly replica: string;
  readonly sequence: number;
  /** Sixteen digits in groups of four: what a guest is given and an operator asks about. */
  readonly reference: string;
  /** ISO 8601. */
  readonly at: string;
  readonly kind: EntryKind;
  readonly subject?: string;
  readonly body: { readonly [name: string]: Json | undefined };
}

/** What stands before the first entry of a chain: 48 zero bytes. */
export const chainStart = new Uint8Array(48);

type Unhashed = Omit<RecordEntryRow, 'hash'>;

/**
 * SHA-384 (48 bytes) over the entry as it is stored, its body sealed, and the hash before it: a JSON list of replica,
 * sequence, reference, time, kind, subject (hexadecimal or null) and length of the body; then the body; then the
 * previous hash. It can be checked without any key.
 */
export function entryHash(entry: Unhashed): Uint8Array {
  const { replica, sequence, reference, at, kind, subject, body, previous } = entry;
  const subjectText = subject === null ? null : toHex(subject);
  const header = JSON.stringify([replica, sequence, reference, at, kind, subjectText, body.length]);
  return new Uint8Array(createHash('sha384').update(header).update(body).update(previous).digest());
}

/** An entry of the database, sealed and linked to the one before it. */
export function entryRow(
  keys: StateKeys,
  entry: NewEntry,
  place: Pick<RecordEntryRow, 'replica' | 'sequence' | 'reference' | 'at' | 'previous'>,
): RecordEntryRow {
  const { kind, subject, body } = entry;
  const head = { ...place, kind };
  const unhashed = {
    ...head,
    subject: subject === undefined ? null : subjectDigest(keys, subject),
    body: keys.sealText(bodyPlace(head), JSON.stringify({ subject, body })),
  };
  return { ...unhashed, hash: entryHash(unhashed) };
}

/** Opens an entry; undefined when it is not one that a holder of the keys has put in this place. */
export function openEntry(keys: StateKeys, row: RecordEntryRow): RecordEntry | undefined {
  const opened = keys.tryOpen(bodyPlace(row), row.body);
  if (opened === undefined) return undefined;
  const content: unknown = JSON.parse(new TextDecoder().decode(openSecret(opened)));
  const { replica, sequence, reference, at, kind } = row;
  return { replica, sequence, reference, at, kind, ...(content as object) } as RecordEntry;
}

export function subjectDigest(keys: StateKeys, subject: string): Uint8Array {
  return keys.digestOf('record subject', subject);
}

/** Sealing binds everything that the hash covers: a chain that was computed anew does not open. */
function bodyPlace(
  row: Pick<RecordEntryRow, 'replica' | 'sequence' | 'reference' | 'at' | 'kind' | 'previous'>,
) {
  const { replica, sequence, reference, at, kind, previous } = row;
  return ['record_entries', replica, sequence, reference, at, kind, toHex(previous)];
}

/** How an entry is named to people. */
export function entryName({
  replica,
  sequence,
  reference,
}: {
  replica: string;
  sequence: number;
  reference: string;
}) {
  return `entry ${sequence} of replica ${replica} (reference ${reference})`;
}

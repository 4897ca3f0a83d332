import type { Appraisal } from '@vouchsafe/sev';
import type { EntryKind, RecordEntry } from '../record/entry.js';
import { exportRecord, findEntry, newestEntries } from '../record/read.js';
import { verifyRecord } from '../record/verify.js';
import type { AdministrationContext } from './context.js';
import { NotFoundError } from './refused.js';

export interface TailOptions {
  readonly kind?: EntryKind | undefined;
  /** What the entries are about: the path of a secret, for example. */
  readonly subject?: string | undefined;
  /** ISO 8601. */
  readonly since?: string | undefined;
  readonly limit?: number | undefined;
}

/** The newest entries of the record, oldest first. */
export async function auditTail(
  { state }: AdministrationContext,
  { kind, subject, since, limit }: TailOptions,
): Promise<RecordEntry[]> {
  return newestEntries(state.db, state.keys, {
    ...(kind === undefined ? {} : { kind }),
    ...(subject === undefined ? {} : { subject }),
    ...(since === undefined ? {} : { since }),
    ...(limit === undefined ? {} : { limit }),
  });
}

export async function auditVerify({ state, outside }: AdministrationContext): Promise<Appraisal> {
  return verifyRecord({ db: state.db, keys: state.keys, ...(outside === undefined ? {} : { outside }) });
}

/** Every entry and checkpoint, a line of JSON each. */
export async function auditExport(
  { state }: AdministrationContext,
  line: (text: string) => Promise<void> | void,
): Promise<void> {
  await exportRecord(state.db, state.keys, line);
}

/** An entry that a guest was given the number of, with what led to it. */
export interface Explanation {
  readonly entry: RecordEntry;
  /** The appraisal that the decision was made over, where there is one. */
  readonly appraisal?: RecordEntry;
  /** The decision that a release, or a refusal by the secret itself, followed. */
  readonly decision?: RecordEntry;
}

/** @throws NotFoundError */
export async function explain({ state }: AdministrationContext, number: string): Promise<Explanation> {
  const reference = spelled(number);
  const entry = await findEntry(state.db, state.keys, reference);
  if (entry === undefined)
    throw new NotFoundError(
      `entry ${reference}`,
      'give the number that the guest was given, all sixteen digits',
    );
  const { session, decision } = entry.body;
  const appraisals =
    typeof session === 'string' && entry.kind !== 'appraisal'
      ? await newestEntries(state.db, state.keys, { kind: 'appraisal', subject: session, limit: 8 })
      : [];
  const appraisal = appraisals.find(({ body }) => body['accepted'] === true);
  const decided = typeof decision === 'string' ? await findEntry(state.db, state.keys, decision) : undefined;
  return {
    entry,
    ...(appraisal === undefined ? {} : { appraisal }),
    ...(decided === undefined ? {} : { decision: decided }),
  };
}

/** Sixteen digits however they are grouped, as the record writes them. */
function spelled(number: string): string {
  const digits = number.replaceAll(/[\s-]/g, '');
  if (!/^\d{16}$/.test(digits)) return number.slice(0, 64);
  return digits.replace(/(....)(?=.)/g, '$1-');
}

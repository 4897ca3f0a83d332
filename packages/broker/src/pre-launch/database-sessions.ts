import { concat, openSecret, Secret, UnavailableError } from '@vouchsafe/sev';
import type { StateKeys } from '../secrets/state-keys.js';
import { refuseState } from '../state/checks.js';
import { type Database, inTransaction, isoTime, locked, type Transaction } from '../state/database.js';
import { endSession, type PendingSession, type SessionStore, type TakenSession } from './sessions.js';

export interface DatabaseSessionStoreOptions {
  /** Sessions that wait for their measurement at one time, over all replicas: 1000. */
  readonly limit?: number;
  /** How long the store can still say what became of an ended session, in milliseconds: an hour. */
  readonly memory?: number;
  /** Part of the transaction that opens a session, for the record. */
  readonly onOpen?: (tx: Transaction, session: PendingSession) => void;
}

const keyLength = 16;

/**
 * Launch sessions in the broker's database: a measurement may answer at another replica than the one that opened the
 * session. Their keys are sealed, and gone from the database when the session has ended. Closing ends none.
 */
export function databaseSessionStore(
  db: Database,
  keys: StateKeys,
  options: DatabaseSessionStoreOptions = {},
): SessionStore {
  const { limit = 1000, memory = 3_600_000, onOpen } = options;

  return {
    async add(session) {
      const { launchId: launch_id, expiresAt } = session;
      const content = sealSession(keys, session);
      await inTransaction(db, async (tx) => {
        const waiting = await tx.query
          .selectFrom('launch_sessions')
          .select(({ fn }) => fn.countAll<number>().as('count'))
          .where('state', '=', 'pending')
          .executeTakeFirstOrThrow();
        if (waiting.count >= limit) {
          throw new UnavailableError(
            'guest owner',
            `${limit} launch sessions are waiting for their measurement`,
            {
              hint: 'finish or abandon launches that were begun; sessions expire by themselves',
            },
          );
        }
        const row = {
          launch_id,
          state: 'pending' as const,
          expires_at: isoTime(expiresAt),
          ended_at: null,
          content,
        };
        await tx.query.insertInto('launch_sessions').values(row).execute();
        onOpen?.(tx, session);
      });
      endSession(session);
    },

    async take(launchId, now): Promise<TakenSession> {
      const forgotten = isoTime(now - memory);
      const taken = await inTransaction(db, async (tx) => {
        const found = tx.query.selectFrom('launch_sessions').selectAll().where('launch_id', '=', launchId);
        const row = await locked(tx, found).executeTakeFirst();
        if (row === undefined || (row.ended_at !== null && row.ended_at <= forgotten)) return undefined;
        if (row.state !== 'pending') return { state: row.state };
        const state = isoTime(now) < row.expires_at ? ('used' as const) : ('expired' as const);
        await tx.query
          .updateTable('launch_sessions')
          .set({ state, ended_at: isoTime(now), content: null })
          .where('launch_id', '=', launchId)
          .execute();
        return { state, row };
      });
      if (taken === undefined) return { state: 'unknown' };
      if (taken.state === 'used' && taken.row !== undefined) {
        return { state: 'pending', session: openSession(keys, taken.row) };
      }
      return { state: taken.state };
    },

    async expire(now) {
      const at = isoTime(now);
      await db.query
        .updateTable('launch_sessions')
        .set({ state: 'expired', ended_at: at, content: null })
        .where('state', '=', 'pending')
        .where('expires_at', '<=', at)
        .execute();
      await db.query
        .deleteFrom('launch_sessions')
        .where('ended_at', '<=', isoTime(now - memory))
        .execute();
    },

    close: async () => undefined,
  };
}

const place = (launchId: string, expiresAt: string) => ['launch_sessions', launchId, expiresAt];

/** TEK ‖ TIK ‖ JSON of the rest: the keys never become text. */
function sealSession(keys: StateKeys, session: PendingSession): Uint8Array {
  const { launchId, expiresAt, tek, tik, ...content } = session;
  const rest = new TextEncoder().encode(JSON.stringify(content));
  const plaintext = concat(openSecret(tek), openSecret(tik), rest);
  try {
    return keys.seal(place(launchId, isoTime(expiresAt)), plaintext);
  } finally {
    plaintext.fill(0);
  }
}

function openSession(
  keys: StateKeys,
  row: { readonly launch_id: string; readonly expires_at: string; readonly content: Uint8Array | null },
): PendingSession {
  const { launch_id: launchId, expires_at: expiresAt, content } = row;
  if (content === null) {
    return refuseState('database', 'state.row', {
      expected: `the keys of launch session ${launchId}`,
      found: 'none, although it has not ended',
    });
  }
  const opened = keys.open(place(launchId, expiresAt), content);
  try {
    const bytes = openSecret(opened);
    const rest = JSON.parse(new TextDecoder().decode(bytes.subarray(2 * keyLength))) as Omit<
      PendingSession,
      'launchId' | 'expiresAt' | 'tek' | 'tik'
    >;
    return {
      launchId,
      expiresAt: Date.parse(expiresAt),
      ...rest,
      tek: Secret.copyOf(bytes.subarray(0, keyLength)),
      tik: Secret.copyOf(bytes.subarray(keyLength, 2 * keyLength)),
    };
  } finally {
    opened.zero();
  }
}

import {
  type Check,
  type FirmwareVersion,
  type RootOfTrust,
  type Secret,
  UnavailableError,
} from '@vouchsafe/sev';

/** What the owner remembers between handing out a launch session and judging the measurement that answers it. */
export interface PendingSession {
  readonly launchId: string;
  /** Milliseconds since 1970, by the owner's clock. */
  readonly expiresAt: number;
  /** Which of the owner's kinds of launch it was opened for, where there are several. */
  readonly launch?: string;
  readonly policy: number;
  /** The chip (64 bytes, lower-case hexadecimal) where the key service endorsed it by that: case A. */
  readonly chipId?: string;
  /** What the host announced when it asked; the measurement must be of the same firmware. */
  readonly platform: FirmwareVersion;
  readonly root: RootOfTrust;
  /** What was found of the platform's certificates, for the verdict over the measurement. */
  readonly platformChecks: readonly Check[];
  readonly tek: Secret;
  readonly tik: Secret;
}

export type TakenSession =
  | { readonly state: 'pending'; readonly session: PendingSession }
  | { readonly state: 'used' | 'expired' | 'unknown' };

/**
 * Keeps the sessions. A store in a database shares them between replicas; it then encrypts the keys at rest. Whoever
 * takes a session out owes the zeroing of its keys; those of sessions that nobody takes are zeroed by the store.
 */
export interface SessionStore {
  /** @throws UnavailableError when there is no room for another */
  add(session: PendingSession): Promise<void>;
  /**
   * Takes a session out, once and for all: of several callers at the same time only one gets it. An expired session is
   * nobody's.
   */
  take(launchId: string, now: number): Promise<TakenSession>;
  /** Ends what has expired. */
  expire(now: number): Promise<void>;
  /** Ends everything. */
  close(): Promise<void>;
}

/** Zeroes a session's keys. */
export function endSession({ tek, tik }: PendingSession): void {
  tek.zero();
  tik.zero();
}

interface EndedSession {
  readonly state: 'used' | 'expired';
  readonly forgetAt: number;
}

export interface MemorySessionStoreOptions {
  /** Sessions that wait for their measurement at one time. */
  readonly limit?: number;
  /** Ended sessions of which the store can still say what became of them; the oldest are forgotten first. */
  readonly remembered?: number;
  /** How long the store can still say what became of an ended session, in milliseconds; after that it is unknown. */
  readonly memory?: number;
}

/** Sessions in this process: they end with it. */
export function memorySessionStore(options: MemorySessionStoreOptions = {}): SessionStore {
  const { limit = 1000, remembered = 10_000, memory = 3_600_000 } = options;
  const pending = new Map<string, PendingSession>();
  /** In the order in which they ended. Bounded, or whoever opens and answers sessions without end would fill it. */
  const ended = new Map<string, EndedSession>();

  function end(launchId: string, state: EndedSession['state'], now: number): void {
    pending.delete(launchId);
    ended.set(launchId, { state, forgetAt: now + memory });
    for (const oldest of ended.keys()) {
      if (ended.size <= remembered) break;
      ended.delete(oldest);
    }
  }

  function sweep(now: number): void {
    for (const session of pending.values()) {
      if (now < session.expiresAt) continue;
      endSession(session);
      end(session.launchId, 'expired', now);
    }
    for (const [launchId, { forgetAt }] of ended) {
      if (now < forgetAt) break;
      ended.delete(launchId);
    }
  }

  return {
    async add(session) {
      if (pending.size >= limit) {
        throw new UnavailableError(
          'guest owner',
          `${limit} launch sessions are waiting for their measurement`,
          {
            hint: 'finish or abandon launches that were begun; sessions expire by themselves',
          },
        );
      }
      pending.set(session.launchId, session);
    },
    async take(launchId, now) {
      sweep(now);
      const session = pending.get(launchId);
      if (session === undefined) return { state: ended.get(launchId)?.state ?? 'unknown' };
      end(launchId, 'used', now);
      return { state: 'pending', session };
    },
    async expire(now) {
      sweep(now);
    },
    async close() {
      for (const session of pending.values()) endSession(session);
      pending.clear();
      ended.clear();
    },
  };
}

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
  readonly policy: number;
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

type Entry =
  | { readonly state: 'pending'; readonly session: PendingSession }
  | { readonly state: 'used' | 'expired'; readonly forgetAt: number };

export interface MemorySessionStoreOptions {
  /** Sessions that wait for their measurement at one time. */
  readonly limit?: number;
  /** How long the store can still say what became of an ended session, in milliseconds; after that it is unknown. */
  readonly memory?: number;
}

/** Sessions in this process: they end with it. */
export function memorySessionStore(options: MemorySessionStoreOptions = {}): SessionStore {
  const { limit = 1000, memory = 3_600_000 } = options;
  const entries = new Map<string, Entry>();
  const pending = () => [...entries.values()].filter(({ state }) => state === 'pending').length;

  function sweep(now: number): void {
    for (const [launchId, entry] of entries) {
      if (entry.state === 'pending') {
        if (now < entry.session.expiresAt) continue;
        endSession(entry.session);
        entries.set(launchId, { state: 'expired', forgetAt: now + memory });
      } else if (now >= entry.forgetAt) {
        entries.delete(launchId);
      }
    }
  }

  return {
    async add(session) {
      if (pending() >= limit) {
        throw new UnavailableError(
          'guest owner',
          `${limit} launch sessions are waiting for their measurement`,
          {
            hint: 'finish or abandon launches that were begun; sessions expire by themselves',
          },
        );
      }
      entries.set(session.launchId, { state: 'pending', session });
    },
    async take(launchId, now) {
      sweep(now);
      const entry = entries.get(launchId);
      if (entry === undefined) return { state: 'unknown' };
      if (entry.state !== 'pending') return { state: entry.state };
      entries.set(launchId, { state: 'used', forgetAt: now + memory });
      return entry;
    },
    async expire(now) {
      sweep(now);
    },
    async close() {
      for (const entry of entries.values()) if (entry.state === 'pending') endSession(entry.session);
      entries.clear();
    },
  };
}

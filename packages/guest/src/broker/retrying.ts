import { type BrokerAnswer, ExchangeFailedError } from './exchange.js';

export interface RetryRules {
  /** Tries in all, the first included. */
  readonly attempts: number;
  /** Waits so many milliseconds. */
  readonly pause: (milliseconds: number) => Promise<void>;
}

const firstPauseMs = 1000;
/** A broker that wants a longer pause than this is not waited for. */
const longestPauseMs = 30_000;

/** Statuses that say "not now", and nothing about this guest. */
const busy = new Set([429, 502, 503, 504]);

/**
 * Sends the same request until something answers it: after a connection that failed, and after an answer that only says
 * that the broker is busy. Pauses double, or are as long as the broker asks. Every request of the protocol may be repeated:
 * a broker gives an attested session its token again, and a released secret to the same key again.
 * @returns the last answer, a busy one too
 * @throws ExchangeFailedError when the last connection failed as well, and whatever else `send` throws
 */
export async function sendRepeatedly(
  send: () => Promise<BrokerAnswer>,
  { attempts, pause }: RetryRules,
): Promise<BrokerAnswer> {
  for (let attempt = 1; ; attempt++) {
    const usual = Math.min(firstPauseMs * 2 ** (attempt - 1), longestPauseMs);
    try {
      const answer = await send();
      const wanted = pauseWanted(answer, usual);
      if (wanted === undefined || attempt >= attempts || wanted > longestPauseMs) return answer;
      await pause(wanted);
    } catch (error) {
      if (!(error instanceof ExchangeFailedError) || attempt >= attempts) throw error;
      await pause(usual);
    }
  }
}

function pauseWanted({ status, retryAfter }: BrokerAnswer, usual: number): number | undefined {
  if (!busy.has(status)) return undefined;
  return retryAfter !== undefined && /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) * 1000 : usual;
}

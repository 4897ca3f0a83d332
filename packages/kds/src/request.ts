import { UnavailableError } from '@vouchsafe/sev';
import type { RequestQueue } from './request-queue.js';

/** What this package needs of `fetch`; tests and proxies put their own in. */
export type Fetch = (
  address: string,
  init: { signal: AbortSignal; headers: Record<string, string> },
) => Promise<Response>;

export interface RequestOptions {
  readonly fetch: Fetch;
  readonly queue: RequestQueue;
  /** Milliseconds since 1970, to read a Retry-After that is a date. */
  readonly now: () => number;
  /** Requests in all, the first included. */
  readonly attempts: number;
  /** A service that wants a longer pause than this is not waited for. */
  readonly longestPauseSeconds: number;
  /** All pauses of one request together. */
  readonly pauseBudgetSeconds: number;
  readonly timeoutSeconds: number;
}

/** AMD lets a caller ask about once in ten seconds. The pause doubles while the service says nothing better. */
const usualPauseSeconds = 10;
/** Ten times the largest answer; what is longer is neither a certificate nor a list of a few serial numbers. */
const longestAnswer = 64 * 1024;

const what = 'key service';

/** The service said 404: it does not know this chip, or has no bundle of this generation. */
export class UnknownToServiceError extends UnavailableError {}

/** Asking now would be too much, for the service or for this process. Later it may do. */
export class ThrottledError extends UnavailableError {
  readonly retryAfterSeconds: number;

  constructor(subject: string, message: string, retryAfterSeconds: number) {
    super(subject, message, {
      hint: `try again in ${retryAfterSeconds} seconds; a cache folder keeps what was fetched once`,
    });
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/**
 * GET with bounded tries. Only an answer that asks for patience (429, or 503 with Retry-After) is tried again.
 * @throws UnavailableError for every other outcome than 200 with an answer of reasonable length
 */
export async function getBytes(address: string, options: RequestOptions): Promise<Uint8Array> {
  return options.queue.run(() => tryRepeatedly(address, options));
}

async function tryRepeatedly(address: string, options: RequestOptions): Promise<Uint8Array> {
  for (let attempt = 1, waited = 0; ; attempt++) {
    const response = await send(address, options);
    if (response.status === 200) return readBounded(address, response);
    await response.body?.cancel();
    if (response.status === 404) {
      throw new UnknownToServiceError(what, `${address} is not known there (404)`, {
        hint: 'check that this service endorses this chip: software processors are known to their development authority only',
      });
    }
    const pause = pauseAskedFor(response, attempt, options.now());
    if (pause === undefined) {
      throw new UnavailableError(what, `${address} answered ${response.status}`, {
        hint: 'try again later, or give the certificates as files',
      });
    }
    waited += pause;
    const enough = attempt >= options.attempts || waited > options.pauseBudgetSeconds;
    if (enough || pause > options.longestPauseSeconds) {
      const message = `${address} asks for fewer requests (${response.status}), ${attempt} tried`;
      throw new ThrottledError(what, message, pause);
    }
    await options.queue.pause(pause * 1000);
  }
}

async function send(address: string, options: RequestOptions): Promise<Response> {
  try {
    return await options.fetch(address, {
      signal: AbortSignal.timeout(options.timeoutSeconds * 1000),
      headers: { accept: 'application/octet-stream, */*' },
    });
  } catch (cause) {
    throw unreachable(address, cause);
  }
}

function unreachable(address: string, cause: unknown): UnavailableError {
  const reason =
    cause instanceof Error ? (cause.cause instanceof Error ? cause.cause.message : cause.message) : 'failed';
  return new UnavailableError(what, `${address} could not be read: ${reason}`, {
    hint: 'check the address and the network; --offline uses only what is cached',
    cause,
  });
}

/** Seconds to wait before the next try, or undefined when the answer does not invite one. */
function pauseAskedFor(response: Response, attempt: number, now: number): number | undefined {
  const header = response.headers.get('retry-after');
  if (response.status !== 429 && !(response.status === 503 && header !== null)) return undefined;
  const usual = usualPauseSeconds * 2 ** (attempt - 1);
  if (header === null) return usual;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header);
  const date = Date.parse(header);
  return Number.isNaN(date) ? usual : Math.max(0, Math.ceil((date - now) / 1000));
}

async function readBounded(address: string, response: Response): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const part of response.body ?? []) {
      length += part.length;
      if (length > longestAnswer) break;
      parts.push(part);
    }
  } catch (cause) {
    throw unreachable(address, cause);
  }
  if (length > longestAnswer) {
    throw new UnavailableError(what, `${address} answered with more than ${longestAnswer} bytes`, {
      hint: 'what answers there is not a key service',
    });
  }
  return Uint8Array.from(Buffer.concat(parts));
}

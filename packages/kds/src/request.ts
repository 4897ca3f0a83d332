import { UnavailableError } from '@vouchsafe/sev';

/** What this package needs of `fetch`; tests and proxies put their own in. */
export type Fetch = (
  address: string,
  init: { signal: AbortSignal; headers: Record<string, string> },
) => Promise<Response>;

export interface RequestOptions {
  readonly fetch: Fetch;
  /** Waits; tests return at once and note for how long they were asked to. */
  readonly sleep: (milliseconds: number) => Promise<void>;
  /** Milliseconds since 1970, to read a Retry-After that is a date. */
  readonly now: () => number;
  /** Requests in all, the first included. */
  readonly attempts: number;
  /** A service that wants a longer pause than this is not waited for. */
  readonly longestPauseSeconds: number;
  readonly timeoutSeconds: number;
}

/** AMD lets a caller ask about once in ten seconds. */
const usualPauseSeconds = 10;
/** Thirty times the largest answer; what is longer is not a certificate. */
const longestAnswer = 64 * 1024;

const what = 'key service';

/** The service said 404: it does not know this chip, or has no bundle of this generation. */
export class UnknownToServiceError extends UnavailableError {}

/**
 * GET with bounded tries. Only an answer that asks for patience (429, or 503 with Retry-After) is tried again.
 * @throws UnavailableError for every other outcome than 200 with an answer of reasonable length
 */
export async function getBytes(address: string, options: RequestOptions): Promise<Uint8Array> {
  for (let attempt = 1; ; attempt++) {
    const response = await send(address, options);
    if (response.status === 200) return readBounded(address, response);
    await response.body?.cancel();
    if (response.status === 404) {
      throw new UnknownToServiceError(what, `${address} is not known there (404)`, {
        hint: 'check that this service endorses this chip: software processors are known to their development authority only',
      });
    }
    const pause = pauseAskedFor(response, options.now());
    if (pause === undefined) {
      throw new UnavailableError(what, `${address} answered ${response.status}`, {
        hint: 'try again later, or give the certificates as files',
      });
    }
    if (attempt >= options.attempts || pause > options.longestPauseSeconds) {
      throw new UnavailableError(
        what,
        `${address} asks for fewer requests (${response.status}), ${attempt} tried`,
        {
          hint: `try again in ${pause} seconds; a cache folder keeps what was fetched once`,
        },
      );
    }
    await options.sleep(pause * 1000);
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
function pauseAskedFor(response: Response, now: number): number | undefined {
  const header = response.headers.get('retry-after');
  if (response.status !== 429 && !(response.status === 503 && header !== null)) return undefined;
  if (header === null) return usualPauseSeconds;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header);
  const date = Date.parse(header);
  return Number.isNaN(date) ? usualPauseSeconds : Math.max(0, Math.ceil((date - now) / 1000));
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

import { request as httpRequest, type IncomingMessage } from 'node:http';
import { UnavailableError, VouchsafeError } from '@vouchsafe/sev';
import type { BrokerAddress } from './broker-address.js';
import { connectTls, type ServerTrust } from './server-trust.js';

export interface BrokerRequest {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface BrokerAnswer {
  readonly status: number;
  /** Decoded strictly from UTF-8. */
  readonly text: string;
  readonly setCookie: readonly string[];
  readonly retryAfter: string | undefined;
}

export interface ExchangeLimits {
  /** For the whole exchange, in milliseconds. */
  readonly timeout: number;
  /** Largest body of an answer, in bytes. */
  readonly largestAnswer: number;
}

/** A connection that failed before an answer was whole: trying again may help. */
export class ExchangeFailedError extends UnavailableError {}

/**
 * One request on a connection of its own. Redirections are not followed: they come back as the answers that they are.
 * @throws ExchangeFailedError when no whole answer comes in time
 * @throws UnavailableError when the server is another one, or its answer too long or not text
 */
export async function exchange(
  address: BrokerAddress,
  trust: ServerTrust,
  request: BrokerRequest,
  limits: ExchangeLimits,
): Promise<BrokerAnswer> {
  const signal = AbortSignal.timeout(limits.timeout);
  const socket = address.secure ? await connectTls(address, trust, signal) : undefined;
  try {
    const response = await send(address, request, signal, socket);
    const body = await readBounded(response, limits.largestAnswer);
    return {
      status: response.statusCode ?? 0,
      text: textOf(body),
      setCookie: response.headers['set-cookie'] ?? [],
      retryAfter: response.headers['retry-after'],
    };
  } catch (cause) {
    if (cause instanceof VouchsafeError) throw cause;
    const reason = signal.aborted
      ? `no answer within ${limits.timeout / 1000} seconds`
      : cause instanceof Error
        ? cause.message
        : 'failed';
    throw new ExchangeFailedError('key broker', `${request.path}: ${reason}`, { cause });
  } finally {
    socket?.destroy();
  }
}

function send(
  { host, port, prefix }: BrokerAddress,
  { method, path, headers, body }: BrokerRequest,
  signal: AbortSignal,
  socket: Awaited<ReturnType<typeof connectTls>> | undefined,
): Promise<IncomingMessage> {
  const content =
    body === undefined
      ? {}
      : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) };
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      host,
      port,
      method,
      path: `${prefix}${path}`,
      headers: { accept: 'application/json', ...headers, ...content },
      signal,
      ...(socket === undefined ? { agent: false } : { createConnection: () => socket }),
    });
    request.once('response', resolve).once('error', reject);
    request.end(body);
  });
}

async function readBounded(response: IncomingMessage, most: number): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > most) {
      response.destroy();
      throw new UnavailableError('key broker', `it answers with more than ${most} bytes`, {
        hint: 'what answers there is not a key broker',
      });
    }
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function textOf(body: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch (cause) {
    throw new UnavailableError('key broker', 'its answer is not text', { cause });
  }
}

import { readIfThere, writePrivately } from '@vouchsafe/kds';
import {
  fromBase64,
  InvalidArgumentError,
  openSecret,
  type Secret,
  toBase64,
  UnavailableError,
  VouchsafeError,
} from '@vouchsafe/sev';
import { z } from 'zod';
import type { SignedCheckpoint } from './checkpoint.js';

/**
 * Where the newest checkpoint is kept outside the database. Without one, a database that was replaced by an old copy of
 * itself looks right.
 */
export interface OutsideCopy {
  /** For messages. */
  readonly name: string;
  /** Undefined when there is none yet. @throws UnavailableError */
  read(): Promise<SignedCheckpoint | undefined>;
  /** @throws UnavailableError */
  write(checkpoint: SignedCheckpoint): Promise<void>;
}

const schema = z.strictObject({ checkpoint: z.string(), signature: z.string() });

function toText({ document, signature }: SignedCheckpoint): string {
  return `${JSON.stringify({ checkpoint: document, signature: toBase64(signature) })}\n`;
}

function fromText(text: string, name: string): SignedCheckpoint {
  try {
    const { checkpoint, signature } = schema.parse(JSON.parse(text));
    return { document: checkpoint, signature: fromBase64(signature) };
  } catch (cause) {
    throw new UnavailableError(name, 'it holds no signed checkpoint', {
      hint: 'find out who changed it before the broker goes on: it is what an old database is recognised by',
      cause,
    });
  }
}

/** A file, beside the master key for example: not where the database is, or one copy takes both back. */
export function checkpointFile(path: string): OutsideCopy {
  return {
    name: path,
    async read() {
      const bytes = await readIfThere(path).catch((cause: unknown) => fail(path, cause));
      return bytes === undefined ? undefined : fromText(new TextDecoder().decode(bytes), path);
    },
    async write(checkpoint) {
      await writePrivately(path, toText(checkpoint)).catch((cause: unknown) => fail(path, cause));
    },
  };
}

function fail(path: string, cause: unknown): never {
  throw new UnavailableError(path, cause instanceof Error ? cause.message : 'it failed', { cause });
}

export interface WitnessOptions {
  /** Answers GET with the newest checkpoint (404: none yet) and takes a newer one by PUT, as JSON. */
  readonly url: string;
  /** Sent as bearer token. */
  readonly token?: Secret;
  readonly fetch?: typeof globalThis.fetch;
  /** Milliseconds that an answer may take: 10,000. */
  readonly timeout?: number;
}

/**
 * A service that keeps the newest checkpoint, and refuses older ones if it is careful.
 * @throws InvalidArgumentError for an address that is neither https nor on this machine
 */
export function witness(options: WitnessOptions): OutsideCopy {
  const { token, fetch = globalThis.fetch, timeout = 10_000 } = options;
  const url = URL.canParse(options.url) ? new URL(options.url) : undefined;
  const isLoopback = url !== undefined && /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(url.hostname);
  if (url === undefined || !(url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback))) {
    throw new InvalidArgumentError('witness', 'expected an https address, or http on this machine');
  }
  const name = `witness at ${url.host}`;

  async function request(method: 'GET' | 'PUT', body?: string): Promise<{ status: number; text: string }> {
    try {
      const response = await fetch(url!, {
        method,
        redirect: 'error',
        signal: AbortSignal.timeout(timeout),
        headers: {
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(token === undefined
            ? {}
            : { authorization: `Bearer ${new TextDecoder().decode(openSecret(token))}` }),
        },
        ...(body === undefined ? {} : { body }),
      });
      return { status: response.status, text: await response.text() };
    } catch (cause) {
      if (cause instanceof VouchsafeError) throw cause;
      throw new UnavailableError(name, `${method} failed: ${cause instanceof Error ? cause.name : 'error'}`);
    }
  }

  return {
    name,
    async read() {
      const { status, text } = await request('GET');
      if (status === 404) return undefined;
      if (status !== 200) throw new UnavailableError(name, `GET was answered with status ${status}`);
      return fromText(text, name);
    },
    async write(checkpoint) {
      const { status } = await request('PUT', toText(checkpoint));
      if (status < 200 || status > 299) {
        throw new UnavailableError(name, `PUT was answered with status ${status}`);
      }
    },
  };
}

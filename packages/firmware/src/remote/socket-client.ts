import { Agent, type IncomingMessage, request } from 'node:http';
import { InvalidArgumentError, UnavailableError } from '@vouchsafe/sev';
import type { z } from 'zod';
import { GuestFault } from '../guest-view.js';
import { HostFault } from '../mailbox.js';
import { failure } from './messages.js';

/** HTTP over a unix socket: JSON that is checked on both sides, and octets. */
export interface SocketClient {
  json<Q extends z.ZodType, A extends z.ZodType>(
    path: string,
    call: { schema: Q; value: z.output<Q> } | undefined,
    answer: A,
  ): Promise<z.output<A>>;
  read(path: string): Promise<Uint8Array>;
  write(path: string, bytes: Uint8Array): Promise<void>;
  close(): void;
}

export function createSocketClient(socketPath: string): SocketClient {
  const agent = new Agent({ keepAlive: true });

  async function call(
    method: string,
    path: string,
    type?: string,
    body?: Uint8Array | string,
  ): Promise<Uint8Array> {
    const response = await send(method, path, type, body);
    const bytes = await collect(response);
    if (response.statusCode === 200 || response.statusCode === 204) return bytes;
    throw errorOf(socketPath, bytes);
  }

  function send(
    method: string,
    path: string,
    type?: string,
    body?: Uint8Array | string,
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const headers = type === undefined ? {} : { 'content-type': type };
      const sent = request({ agent, socketPath, method, path, headers }, resolve);
      sent.on('error', (cause) =>
        reject(
          new UnavailableError(socketPath, `the machine does not answer: ${cause.message}`, {
            cause,
            hint: 'is the process that serves the machine running?',
          }),
        ),
      );
      sent.end(body);
    });
  }

  return {
    async json(path, query, answer) {
      const body = query === undefined ? '{}' : JSON.stringify(query.schema.encode(query.value));
      const bytes = await call('POST', path, 'application/json', body);
      return answer.parse(JSON.parse(new TextDecoder().decode(bytes)));
    },
    read: (path) => call('GET', path),
    async write(path, bytes) {
      await call('PUT', path, 'application/octet-stream', bytes);
    },
    close: () => agent.destroy(),
  };
}

async function collect(response: IncomingMessage): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of response) chunks.push(chunk as Uint8Array);
  return new Uint8Array(Buffer.concat(chunks));
}

function errorOf(socketPath: string, bytes: Uint8Array): Error {
  const text = new TextDecoder().decode(bytes);
  const parsed = failure.safeParse(tryJson(text));
  if (!parsed.success) return new UnavailableError(socketPath, `the machine failed: ${text}`);
  const { code, message, detail = '', address } = parsed.data;
  if (code === 'invalid-argument') return new InvalidArgumentError(detail, message);
  if (code === 'guest-fault') return new GuestFault(detail as GuestFault['fault'], message, address);
  if (code === 'host-fault' && address !== undefined) return new HostFault(address);
  return new UnavailableError(socketPath, message);
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { open, stat } from 'node:fs/promises';
import { createConnection } from 'node:net';
import {
  type AttestationAnswer,
  type AttestationRequest,
  attestationAnswer,
  attestationLineLimit,
  attestationRequest,
} from '@vouchsafe/protocol';
import { InvalidArgumentError, MalformedError, Secret, UnavailableError } from '@vouchsafe/sev';
import {
  type AttestationDevice,
  RequestRefusedError,
  requireKeyRequest,
  requireReportRequest,
} from './attestation-device.js';
import { type Line, linesOf } from './line-stream.js';

export interface SocketDeviceOptions {
  /** A unix socket, or a character device such as the virtio port of a virtual machine. */
  readonly path: string;
  /** Opens the byte stream; by the kind of file when absent. */
  readonly connect?: (path: string) => Promise<ByteStream>;
  /** Number of the first request: where a line outlives its users, an answer to somebody else is told by its number. */
  readonly firstId?: number;
}

type Request =
  | Omit<Extract<AttestationRequest, { type: 'report' }>, 'id'>
  | Omit<Extract<AttestationRequest, { type: 'key' }>, 'id'>;

/** A device that somebody serves on a byte stream (`serveAttestationSocket`). It is connected to at the first call. */
export function socketAttestationDevice(options: SocketDeviceOptions): AttestationDevice {
  const { path, connect = connectByKind } = options;
  let id = options.firstId ?? randomInt(2 ** 31);
  let opened: { readonly stream: ByteStream; readonly lines: AsyncGenerator<Line> } | undefined;
  let closed = false;
  let queue: Promise<unknown> = Promise.resolve();

  async function connection() {
    if (closed) throw new UnavailableError(path, 'the device has been closed');
    if (opened !== undefined) return opened;
    const stream = await connect(path);
    opened = { stream, lines: linesOf(stream.chunks, attestationLineLimit) };
    return opened;
  }

  /** After anything but an answer, the stream may hold the answer to this request still. */
  function abandon(): void {
    opened?.stream.close();
    opened = undefined;
  }

  async function exchange(request: Request): Promise<AttestationAnswer> {
    const { stream, lines } = await connection();
    id = (id + 1) % 2 ** 32;
    const message = attestationRequest.toJson({ ...request, id } as AttestationRequest);
    try {
      await stream.write(`${JSON.stringify(message)}\n`);
      for (;;) {
        const next = await lines.next();
        if (next.done === true) throw new UnavailableError(path, 'whoever serves it hung up');
        if (next.value === undefined)
          throw new UnavailableError(path, `an answer is longer than ${attestationLineLimit} bytes`);
        const answer = attestationAnswer.parseText(next.value);
        // Answers to somebody who used the line before.
        if (answer.id !== undefined && answer.id !== id) continue;
        return answer;
      }
    } catch (error) {
      abandon();
      if (error instanceof UnavailableError) throw error;
      const said =
        error instanceof MalformedError ? `it answers nonsense: ${error.message}` : 'the connection broke';
      throw new UnavailableError(path, said, { cause: error });
    }
  }

  async function ask<T extends Request['type']>(
    request: Request & { readonly type: T },
  ): Promise<Extract<AttestationAnswer, { type: T }>> {
    const own = queue.then(() => exchange(request));
    queue = own.catch(() => undefined);
    const answer = await own;
    if (answer.type === request.type) return answer as Extract<AttestationAnswer, { type: T }>;
    if (answer.type !== 'failure')
      throw new UnavailableError(path, `it answered a ${request.type} request with a ${answer.type}`);
    throw errorOf(path, request.type, answer);
  }

  return {
    kind: 'socket',
    async report(request) {
      requireReportRequest(request);
      const { reportData, vmpl } = request;
      const { report, certificateTable } = await ask({
        type: 'report',
        reportData,
        ...(vmpl === undefined ? {} : { vmpl }),
      });
      return { report, ...(certificateTable === undefined ? {} : { certificateTable }) };
    },
    async deriveKey(request) {
      requireKeyRequest(request);
      const { root, fields, ...given } = request;
      const all = {
        policy: false,
        imageId: false,
        familyId: false,
        measurement: false,
        guestSvn: false,
        tcbVersion: false,
        launchMitigationVector: false,
        ...fields,
      };
      const rest = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
      const { key } = await ask({ ...rest, type: 'key', root, fields: all });
      return Secret.take(key);
    },
    async close() {
      closed = true;
      abandon();
    },
  };
}

function errorOf(
  path: string,
  type: Request['type'],
  { code, message, status, hint }: Extract<AttestationAnswer, { type: 'failure' }>,
): Error {
  if (code === 'request-refused') return new RequestRefusedError(type, status);
  if (code === 'invalid-argument') return new InvalidArgumentError('request', message);
  return new UnavailableError(path, message, { hint });
}

/** The bytes of a connection, in both directions. */
export interface ByteStream {
  readonly chunks: AsyncIterable<Uint8Array>;
  write(text: string): Promise<void>;
  close(): void;
}

async function connectByKind(path: string): Promise<ByteStream> {
  const found = await stat(path).catch((cause: unknown) => {
    throw new UnavailableError(path, 'there is no such socket', {
      hint: 'start `vouchsafe guest device serve --socket`',
      cause,
    });
  });
  return found.isCharacterDevice() ? connectCharacterDevice(path) : connectSocket(path);
}

async function connectSocket(path: string): Promise<ByteStream> {
  const socket = createConnection(path);
  await once(socket, 'connect').catch((cause: unknown) => {
    throw new UnavailableError(path, 'nobody answers there', {
      hint: 'is the process that serves it running?',
      cause,
    });
  });
  // Its reader and its writer are told; without a listener the process would end.
  socket.on('error', () => undefined);
  return {
    chunks: socket,
    async write(text) {
      if (!socket.write(text)) await once(socket, 'drain');
    },
    close: () => void socket.destroy(),
  };
}

/**
 * A virtio port or a serial line: one file for both directions, which never ends. It is read only while an answer is
 * awaited, because a read that waits for ever would keep the process from ending.
 */
async function connectCharacterDevice(path: string): Promise<ByteStream> {
  const file = await open(path, 'r+').catch((cause: unknown) => {
    throw new UnavailableError(path, 'it cannot be opened', { cause });
  });
  return {
    chunks: {
      async *[Symbol.asyncIterator]() {
        const room = new Uint8Array(4096);
        for (;;) {
          const { bytesRead } = await file.read(room, 0, room.length, null);
          if (bytesRead === 0) return;
          yield room.slice(0, bytesRead);
        }
      },
    },
    async write(text) {
      await file.write(text);
    },
    close: () => void file.close().catch(() => undefined),
  };
}

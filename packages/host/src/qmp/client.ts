import { createConnection, type Socket } from 'node:net';
import { MalformedError, requireSocketPath, UnavailableError } from '@vouchsafe/sev';
import { z } from 'zod';
import { deferred } from '../deferred.js';
import { QmpError } from './errors.js';
import { type QmpEvent, type QmpVersion, qmpMessageLimit, splitJson } from './messages.js';

/** A QMP connection that has been negotiated and takes commands. */
export interface QmpClient {
  readonly version: QmpVersion;
  /**
   * Runs one command and gives its `return` value. Several may be under way.
   * @throws QmpError when it is refused; UnavailableError when no answer comes in time or the connection ends;
   * MalformedError when what comes is not QMP
   */
  execute(command: string, options?: ExecuteOptions): Promise<unknown>;
  /** Calls `listener` with each event from now on. @returns a function that ends it */
  onEvent(listener: (event: QmpEvent) => void): () => void;
  /** Resolves when the connection has ended, from whichever side. */
  readonly closed: Promise<void>;
  close(): Promise<void>;
}

export interface ExecuteOptions {
  readonly arguments?: Readonly<Record<string, unknown>>;
  /** Milliseconds until the answer must be there. */
  readonly timeout?: number;
}

export interface ConnectQmpOptions {
  /** Milliseconds for the greeting, and for each command that names no time of its own: 30 seconds. */
  readonly timeout?: number;
  /** Bytes of the longest message taken in. */
  readonly messageLimit?: number;
}

const greetingMessage = z.object({
  QMP: z.object({
    version: z.object({
      qemu: z.object({ major: z.int(), minor: z.int(), micro: z.int() }),
      package: z.string(),
    }),
    capabilities: z.array(z.string()),
  }),
});
const answerMessage = z.union([
  z.object({ id: z.int(), return: z.unknown() }),
  z.object({ id: z.int(), error: z.object({ class: z.string(), desc: z.string() }) }),
]);
const eventMessage = z.object({
  event: z.string(),
  data: z.record(z.string(), z.unknown()).optional(),
  timestamp: z.object({ seconds: z.number(), microseconds: z.number() }),
});

interface Waiting {
  readonly command: string;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/**
 * Connects to the QMP socket of a running QEMU, or of a software machine that is served as one.
 * @throws UnavailableError when nobody answers there; MalformedError when it does not speak QMP
 */
export async function connectQmp(socketPath: string, options: ConnectQmpOptions = {}): Promise<QmpClient> {
  const { timeout = 30_000, messageLimit = qmpMessageLimit } = options;
  const socket = await openSocket(requireSocketPath(socketPath, 'QMP socket'));
  const waiting = new Map<number, Waiting>();
  /** Ids of commands whose answer did not come in time: it may still come, and is then nobody's. */
  const givenUp = new Set<number>();
  const listeners = new Set<(event: QmpEvent) => void>();
  const greeting = deferred<QmpVersion>();
  const closed = deferred<void>();
  let failure: Error | undefined;
  let greeted = false;
  let nextId = 1;

  function fail(error: Error): void {
    failure ??= error;
    greeting.reject(failure);
    for (const { reject } of waiting.values()) reject(failure);
    waiting.clear();
    socket.destroy();
  }

  function take(text: string): void {
    const message = parseJson(text);
    if (!greeted) {
      greeting.resolve(read(greetingMessage, message, 'a greeting').QMP.version);
      greeted = true;
    } else if (isObject(message) && 'event' in message) {
      const event = read(eventMessage, message, 'an event') as QmpEvent;
      for (const listener of listeners) listener(event);
    } else {
      const answer = read(answerMessage, message, 'an answer');
      if (givenUp.delete(answer.id)) return;
      const asked = waiting.get(answer.id);
      if (asked === undefined) throw malformed('id', 'the id of a command under way', String(answer.id));
      waiting.delete(answer.id);
      if ('return' in answer) asked.resolve(answer.return);
      else asked.reject(refusal(asked.command, answer.error));
    }
  }

  const feed = splitJson(messageLimit, (text) => {
    if (failure !== undefined) return;
    try {
      take(text);
    } catch (error) {
      fail(error as Error);
    }
  });
  socket.on('data', (chunk) => {
    if (!feed(chunk)) {
      fail(malformed('size', `at most ${messageLimit} bytes, 1024 levels deep`, 'a larger message'));
    }
  });
  socket.on('error', (cause) => fail(gone(socketPath, cause)));
  socket.on('close', () => {
    fail(gone(socketPath));
    closed.resolve();
  });

  function execute(command: string, { arguments: given, timeout: own = timeout }: ExecuteOptions = {}) {
    if (failure !== undefined) return Promise.reject(failure);
    const id = nextId++;
    const answer = new Promise<unknown>((resolve, reject) => waiting.set(id, { command, resolve, reject }));
    socket.write(
      `${JSON.stringify({ execute: command, ...(given === undefined ? {} : { arguments: given }), id })}\r\n`,
    );
    return within(answer, own, () => {
      waiting.delete(id);
      givenUp.add(id);
      return new UnavailableError('QMP', `no answer to ${command} within ${own / 1000} s`);
    });
  }

  async function close(): Promise<void> {
    socket.destroy();
    await closed.promise;
  }

  try {
    const noGreeting = () =>
      new UnavailableError('QMP', `no greeting at ${socketPath} within ${timeout / 1000} s`);
    const version = await within(greeting.promise, timeout, noGreeting);
    await execute('qmp_capabilities');
    return {
      version,
      execute,
      onEvent(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      closed: closed.promise,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function openSocket(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    const onError = (cause: Error) => {
      reject(
        new UnavailableError(
          'QMP',
          `cannot connect to ${path} (${(cause as NodeJS.ErrnoException).code ?? cause.message})`,
          {
            cause,
            hint: 'start QEMU with -qmp unix:PATH,server=on,wait=off, or a software machine with `vouchsafe host serve`',
          },
        ),
      );
    };
    socket.once('error', onError);
    socket.once('connect', () => {
      socket.off('error', onError);
      resolve(socket);
    });
  });
}

async function within<T>(work: Promise<T>, milliseconds: number, late: () => Error): Promise<T> {
  const expired = deferred<never>();
  const timer = setTimeout(() => expired.reject(late()), milliseconds);
  try {
    return await Promise.race([work, expired.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function refusal(command: string, error: { readonly class: string; readonly desc: string }): QmpError {
  return new QmpError({ command, errorClass: error.class, description: error.desc });
}

function gone(path: string, cause?: Error): UnavailableError {
  return new UnavailableError('QMP', `the connection to ${path} ended`, { cause });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw malformed('JSON', 'a JSON object', shortened(text));
  }
}

function read<T>(schema: z.ZodType<T>, message: unknown, expected: string): T {
  const result = schema.safeParse(message);
  if (result.success) return result.data;
  throw malformed('content', expected, shortened(JSON.stringify(message)));
}

function malformed(field: string, expected: string, found: string): MalformedError {
  return new MalformedError({ structure: 'QMP message', field, offset: 0, expected, found });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function shortened(text: string): string {
  return text.length > 120 ? `${text.slice(0, 117)}…` : text;
}

import { lstat, rm } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { requireSocketPath, UnavailableError } from '@vouchsafe/sev';
import type { QmpCommand } from './commands.js';
import { type QmpVersion, qmpMessageLimit, splitJson } from './messages.js';
import { type QmpSession, qmpSession } from './session.js';

export interface QmpServer {
  readonly socketPath: string;
  /** Sends an event to every client that has negotiated. */
  emit(event: string, data?: Readonly<Record<string, unknown>>): void;
  /** Ends all connections, once what was sent to them is out or was not taken in time, and removes the socket. */
  close(): Promise<void>;
}

export interface QmpServerOptions {
  readonly socketPath: string;
  readonly version: QmpVersion;
  readonly commands: Readonly<Record<string, QmpCommand>>;
  /** Clock for the events' timestamps, in milliseconds: `Date.now`. */
  readonly now?: () => number;
}

interface Client {
  readonly socket: Socket;
  readonly session: QmpSession;
  /** Settles when everything that the client has asked so far is answered, and the answers are taken. */
  turn: Promise<unknown>;
  unanswered: number;
}

/** Time for a client to take its last answers, in milliseconds, when the server closes. */
const closingGrace = 1000;

/**
 * Listens on a unix socket that its user alone may open (mode 0600) and speaks QEMU's machine protocol there.
 * @throws UnavailableError when the socket cannot be made; a socket that is left there by a dead process is replaced
 */
export async function listenQmp(options: QmpServerOptions): Promise<QmpServer> {
  const { socketPath, version, commands, now = Date.now } = options;
  requireSocketPath(socketPath, 'QMP socket');
  const clients = new Set<Client>();

  const server = createServer((socket) => {
    const session = qmpSession(version, commands);
    const client: Client = { socket, session, turn: Promise.resolve(), unanswered: 0 };
    const send = (message: object) => write(socket, message);
    clients.add(client);
    send(session.greeting);
    const answer = async (text: string) => {
      send(await session.answer(text));
      await taken(socket);
      client.unanswered -= 1;
      if (client.unanswered === 0) socket.resume();
    };
    const feed = splitJson(qmpMessageLimit, (text) => {
      client.unanswered += 1;
      client.turn = client.turn.then(() => answer(text));
    });
    socket.on('data', (chunk) => {
      if (!feed(chunk)) {
        send({ error: { class: 'GenericError', desc: 'JSON size or nesting limit exceeded' } });
        socket.destroySoon();
      } else if (client.unanswered > 0) {
        // Who asks without end and takes no answer waits; else this process would keep both for him.
        socket.pause();
      }
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => clients.delete(client));
  });

  await listen(server, socketPath);
  return {
    socketPath,
    emit(event, data) {
      const milliseconds = now();
      const seconds = Math.floor(milliseconds / 1000);
      const timestamp = { seconds, microseconds: Math.round((milliseconds - 1000 * seconds) * 1000) };
      const message = { timestamp, event, ...(data === undefined ? {} : { data }) };
      for (const { socket, session } of clients) if (session.negotiated) write(socket, message);
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      const ended = [...clients].map(async (client) => {
        await client.turn;
        client.socket.destroySoon();
      });
      const late = setTimeout(() => {
        for (const { socket } of clients) socket.destroy();
      }, closingGrace);
      await Promise.all([...ended, closed]);
      clearTimeout(late);
    },
  };
}

function write(socket: Socket, message: object): void {
  if (socket.writable) socket.write(`${JSON.stringify(message)}\r\n`);
}

/** Resolves when the socket can hold more, or is gone. */
async function taken(socket: Socket): Promise<void> {
  if (!socket.writableNeedDrain) return;
  await new Promise<void>((resolve) => {
    socket.once('drain', resolve);
    socket.once('close', resolve);
  });
}

/** Binds within the call, so that the socket never exists with wider permissions than its own. */
async function listen(server: Server, path: string): Promise<void> {
  await removeStaleSocket(path);
  const listening = new Promise<void>((resolve, reject) => {
    server.once('listening', resolve);
    server.once('error', reject);
  });
  const umask = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(umask);
  }
  try {
    await listening;
  } catch (cause) {
    throw cannotListen(path, (cause as NodeJS.ErrnoException).code ?? 'failed', { cause });
  }
}

/** A socket that nobody answers on was left by a process that died. Anything else at that path is not ours to remove. */
async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) throw cannotListen(path, 'a file that is not a socket stands there');
  if (await isAnswered(path)) {
    throw cannotListen(path, 'another process listens there', { hint: 'stop it, or choose another path' });
  }
  await rm(path, { force: true });
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    const settle = (answered: boolean) => {
      socket.destroy();
      resolve(answered);
    };
    socket.once('connect', () => settle(true));
    socket.once('error', () => settle(false));
  });
}

function cannotListen(
  path: string,
  why: string,
  options?: { hint?: string; cause?: unknown },
): UnavailableError {
  return new UnavailableError('QMP', `cannot listen on ${path}: ${why}`, options);
}

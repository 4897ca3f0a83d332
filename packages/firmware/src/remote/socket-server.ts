import { once } from 'node:events';
import { lstat, rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { InvalidArgumentError, requireSocketPath, UnavailableError, VouchsafeError } from '@vouchsafe/sev';
import fastify, { type FastifyInstance } from 'fastify';
import { z } from 'zod';
import { GuestFault } from '../guest-view.js';
import { HostFault } from '../mailbox.js';
import type { failure } from './messages.js';

const largestBody = 256 * 1024 * 1024;

/** An HTTP server for one unix socket that answers failures in the form that `socket-client.ts` reads. */
export function createSocketServer(): FastifyInstance {
  const app = fastify({ bodyLimit: largestBody });
  // Not forceCloseConnections, which knows of servers alone that fastify itself had listen.
  app.addHook('preClose', async () => app.server.closeAllConnections());
  app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  );
  app.setErrorHandler((error, _request, reply) => {
    const { status, body } = describe(error);
    return reply.code(status).send(body);
  });
  return app;
}

/**
 * Listens on a socket file that only this user may open. The file never exists with looser permissions: the mask is in
 * force while the call that binds runs. What a dead process left there is replaced.
 * @throws InvalidArgumentError for a path that is too long for a socket
 * @throws UnavailableError when a living one listens there, or something that is no socket stands there
 */
export async function listen(app: FastifyInstance, path: string): Promise<void> {
  requireSocketPath(path, 'socket');
  await app.ready();
  await removeDeadSocket(path);
  const mask = process.umask(0o177);
  try {
    app.server.listen(path);
  } finally {
    process.umask(mask);
  }
  if (!app.server.listening) {
    await once(app.server, 'listening').catch((cause: unknown) => {
      throw new UnavailableError(path, `cannot listen: ${String(cause)}`, { cause });
    });
  }
}

async function removeDeadSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new UnavailableError(path, 'a file that is not a socket stands there', {
      hint: 'choose another path',
    });
  }
  if (await isAnswered(path)) {
    throw new UnavailableError(path, 'another process listens there', {
      hint: 'stop it, or choose another path',
    });
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

function describe(error: unknown): { status: number; body: z.output<typeof failure> } {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof InvalidArgumentError) {
    const detail = error.argument;
    return { status: 400, body: { code: error.code, message: message.slice(detail.length + 2), detail } };
  }
  if (error instanceof GuestFault) {
    const { guestAddress } = error;
    const where = guestAddress === undefined ? {} : { address: guestAddress };
    return { status: 409, body: { code: error.code, message, detail: error.fault, ...where } };
  }
  if (error instanceof HostFault)
    return { status: 409, body: { code: error.code, message, address: error.address } };
  if (error instanceof z.ZodError)
    return { status: 400, body: { code: 'malformed', message: z.prettifyError(error) } };
  if (error instanceof VouchsafeError) return { status: 500, body: { code: error.code, message } };
  return { status: 500, body: { code: 'failed', message } };
}

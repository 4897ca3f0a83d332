import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { InvalidArgumentError, UnavailableError, VouchsafeError } from '@vouchsafe/sev';
import fastify, { type FastifyInstance } from 'fastify';
import { z } from 'zod';
import { GuestFault } from '../guest-view.js';
import type { failure } from './messages.js';

const largestBody = 256 * 1024 * 1024;

/** An HTTP server for one unix socket that answers failures in the form that `socket-client.ts` reads. */
export function createSocketServer(): FastifyInstance {
  const app = fastify({ bodyLimit: largestBody, forceCloseConnections: true });
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
 * force while the call that binds runs.
 */
export async function listen(app: FastifyInstance, path: string): Promise<void> {
  await app.ready();
  await rm(path, { force: true });
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

function describe(error: unknown): { status: number; body: z.output<typeof failure> } {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof InvalidArgumentError) {
    const detail = error.argument;
    return { status: 400, body: { code: error.code, message: message.slice(detail.length + 2), detail } };
  }
  if (error instanceof GuestFault)
    return { status: 409, body: { code: error.code, message, detail: error.fault } };
  if (error instanceof z.ZodError)
    return { status: 400, body: { code: 'malformed', message: z.prettifyError(error) } };
  if (error instanceof VouchsafeError) return { status: 500, body: { code: error.code, message } };
  return { status: 500, body: { code: 'failed', message } };
}

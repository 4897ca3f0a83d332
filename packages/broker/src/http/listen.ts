import { once } from 'node:events';
import { isIP } from 'node:net';
import { InvalidArgumentError, requireSocketPath, UnavailableError } from '@vouchsafe/sev';
import type { FastifyInstance } from 'fastify';

export type ListenAddress =
  | { readonly host: string /** 0 picks a free one. */; readonly port: number }
  /** A unix socket, made for this user alone. */
  | { readonly socketPath: string };

/**
 * Starts to listen. @param what whose address it is, for errors
 * @returns `http://127.0.0.1:PORT`, `https://…` or `unix:PATH`
 * @throws UnavailableError when the address cannot be had, InvalidArgumentError for a path that no socket can have; the
 * server is closed then
 */
export async function listen(app: FastifyInstance, address: ListenAddress, what: string): Promise<string> {
  try {
    if ('socketPath' in address) {
      await listenPrivately(app, address.socketPath);
      return `unix:${address.socketPath}`;
    }
    return await app.listen({ host: address.host, port: address.port });
  } catch (cause) {
    await app.close();
    if (cause instanceof InvalidArgumentError) throw cause;
    const where = 'socketPath' in address ? address.socketPath : `${address.host}:${address.port}`;
    const { code = 'failed' } = cause as NodeJS.ErrnoException;
    const inUse =
      'stop what listens there, or choose another address; a socket that a dead process left can be removed';
    throw new UnavailableError(what, `cannot listen on ${where} (${code})`, {
      cause,
      hint: code === 'EADDRINUSE' ? inUse : undefined,
    });
  }
}

/** The mask is in force while the call that binds runs, so that the socket never exists with looser permissions. */
async function listenPrivately(app: FastifyInstance, path: string): Promise<void> {
  requireSocketPath(path, 'listen');
  await app.ready();
  const mask = process.umask(0o177);
  try {
    app.server.listen(path);
  } finally {
    process.umask(mask);
  }
  if (!app.server.listening) await once(app.server, 'listening');
}

/** Whether only this machine can reach the address. A name other than `localhost` could mean any machine. */
export function isLoopback(address: ListenAddress): boolean {
  if ('socketPath' in address) return true;
  const { host } = address;
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/**
 * Refuses addresses beyond loopback where they would give away more than the owner meant.
 * @throws InvalidArgumentError naming the rule
 */
export function requireSafeAddress(
  address: ListenAddress,
  { development, tls, what }: { readonly development: boolean; readonly tls: boolean; readonly what: string },
): void {
  if (isLoopback(address)) return;
  const host = 'host' in address ? address.host : '';
  if (development) {
    throw new InvalidArgumentError(
      'host',
      `${what} who trusts a development root answers on loopback only, not on ${host}`,
    );
  }
  if (!tls) {
    throw new InvalidArgumentError(
      'host',
      `${what} does not answer plain HTTP beyond loopback, as on ${host}`,
      {
        hint: 'give a certificate and its key, or listen on loopback behind a proxy that has them',
      },
    );
  }
}

import { once } from 'node:events';
import { lstat, rm } from 'node:fs/promises';
import { createConnection, type Server } from 'node:net';
import { requireSocketPath, UnavailableError } from '@vouchsafe/sev';

/**
 * Has a server listen on a unix socket that only this user may open: the kernel refuses everybody else.
 * @throws InvalidArgumentError for a path that is too long for a socket
 * @throws UnavailableError when something else is at the path, or another process listens there
 */
export async function listenOnUnixSocket(server: Server, path: string): Promise<void> {
  requireSocketPath(path, 'socket');
  await removeDeadSocket(path);
  // The mask is in force while the call that binds runs, so that the file never has looser permissions.
  const mask = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(mask);
  }
  await once(server, 'listening').catch((cause: unknown) => {
    throw new UnavailableError(path, `cannot listen: ${String(cause)}`, { cause });
  });
}

async function removeDeadSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket())
    throw new UnavailableError(path, 'a file that is not a socket stands there', {
      hint: 'choose another path',
    });
  if (await isAnswered(path))
    throw new UnavailableError(path, 'another process listens there', {
      hint: 'stop it, or choose another path',
    });
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

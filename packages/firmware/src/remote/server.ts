import type { SoftwareMachine } from '../machine.js';
import { addGuestRoutes } from './guest-routes.js';
import { addHostRoutes } from './host-routes.js';
import { createSocketServer, listen } from './socket-server.js';

export interface MachineSockets {
  /** Unix socket for the host's process. */
  readonly hostSocket: string;
  /** Unix socket for the process in which the guests' programs run; without it programs are inserted here. */
  readonly guestSocket?: string;
}

/**
 * Serves a machine to other processes of this user, so that silicon, host and guest are three processes. Each side has
 * a socket of its own, mode 0600; neither can ask for anything of the chip's that the machine itself would not show it.
 * @throws UnavailableError when a socket cannot be made; then none is left
 */
export async function serveMachine(
  machine: SoftwareMachine,
  sockets: MachineSockets,
): Promise<{ close(): Promise<void> }> {
  const host = createSocketServer();
  addHostRoutes(host, machine.host);
  const servers = [host];
  const close = async () => {
    await Promise.all(servers.map((server) => server.close()));
  };
  try {
    await listen(host, sockets.hostSocket);
    if (sockets.guestSocket !== undefined) {
      const guest = createSocketServer();
      servers.push(guest);
      const program = addGuestRoutes(guest);
      await listen(guest, sockets.guestSocket);
      machine.insertGuest(program);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { close };
}

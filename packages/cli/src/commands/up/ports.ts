import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { UnavailableError } from '@vouchsafe/sev';

/** A port of loopback that nobody listens on: the usual one, if it can be had. */
export async function freePort(usual: number): Promise<number> {
  const port = (await portIfFree(usual)) ?? (await portIfFree(0));
  if (port === undefined) throw new UnavailableError('loopback', 'it has no free port');
  return port;
}

async function portIfFree(wanted: number): Promise<number | undefined> {
  const server = createServer().listen(wanted, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return undefined;
  }
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

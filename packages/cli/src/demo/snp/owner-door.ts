import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { largestRcarRequest } from '@vouchsafe/protocol';
import { UnavailableError, VouchsafeError } from '@vouchsafe/sev';
import { collect } from '../../frame/collect.js';

/**
 * How the guest reaches its owner: two questions over HTTP, through a network that is the host's. The messages are those
 * of the key broker's protocol; instead of a token, the answer is the secret.
 */
export const ownerPaths = { challenge: '/challenge', secret: '/secret' } as const;

export type OwnerPath = (typeof ownerPaths)[keyof typeof ownerPaths];

/** Serves on this computer alone. @param answer throws a VouchsafeError to refuse @returns where */
export async function serveOwner(
  answer: (path: OwnerPath, body: string) => Promise<string>,
): Promise<string> {
  const server = createServer(async (request, response) => {
    const path = Object.values(ownerPaths).find((each) => each === request.url);
    if (path === undefined) return void response.writeHead(404).end();
    try {
      const body = new TextDecoder().decode(await collect(request, 'request', largestRcarRequest));
      response.end(await answer(path, body));
    } catch (error) {
      if (!(error instanceof VouchsafeError)) throw error;
      response.writeHead(403).end(error.message);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** @returns what the owner answers; undefined when it refuses, for which it owes nobody a reason */
export async function askOwner(address: string, path: OwnerPath, body = ''): Promise<string | undefined> {
  const response = await fetch(new URL(path, address), { method: 'POST', body });
  const text = await response.text();
  if (response.status === 200) return text;
  if (response.status === 403) return undefined;
  throw new UnavailableError('owner', `it answers with status ${response.status}`);
}

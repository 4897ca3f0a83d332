import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { largestRcarRequest } from '@vouchsafe/protocol';
import { collect } from '../../frame/collect.js';
import type { Narrator } from '../narration.js';

/** What a question and its answer are to those who carry them. */
interface Exchange {
  readonly path: RegExp;
  readonly question: string;
  readonly answer: string;
  readonly readableBy?: string;
}

const exchanges: readonly Exchange[] = [
  { path: /\/auth$/, question: 'asks for a challenge', answer: 'challenge: a nonce' },
  {
    path: /\/attest$/,
    question: 'attestation report, certificates and public key',
    answer: 'attestation token: what the broker found',
  },
  {
    path: /\/resource\//,
    question: 'asks for the disk key',
    answer: 'the disk key, encrypted to the guest’s key',
    readableBy: 'the guest alone',
  },
];

/** Headers that belong to one connection, not to the message. */
const ownToConnection = new Set(['host', 'connection', 'content-length', 'transfer-encoding', 'keep-alive']);

/**
 * The guest's way to the broker is the host's network: it carries every message, and tells of each.
 * @returns where the guest asks
 */
export async function carryMessages(
  broker: string,
  narrate: Narrator,
): Promise<{ address: string; close(): void }> {
  const server = createServer(async (request, response) => {
    const { method = 'GET', url = '/' } = request;
    const body = await collect(request, 'request', largestRcarRequest);
    const known = exchanges.find(({ path }) => path.test(url));
    if (known !== undefined)
      await narrate.message(
        'guest',
        'owner',
        known.question,
        body.length === 0 ? encoded(`${method} ${url}`) : body,
      );
    const headers = Object.entries(request.headers).flatMap(([name, value]): [string, string][] =>
      ownToConnection.has(name) || typeof value !== 'string' ? [] : [[name, value]],
    );
    const answer = await fetch(new URL(url, broker), {
      method,
      headers,
      ...(body.length === 0 ? {} : { body: new Uint8Array(body) }),
    });
    const content = new Uint8Array(await answer.arrayBuffer());
    if (known !== undefined) {
      const { readableBy } = known;
      if (answer.ok) await narrate.message('owner', 'guest', known.answer, content, readableBy);
      else
        await narrate.message('owner', 'guest', `no (${answer.status}), and a number to ask about`, content);
    }
    response.writeHead(
      answer.status,
      [...answer.headers].filter(([name]) => !ownToConnection.has(name)),
    );
    response.end(content);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    address: `http://127.0.0.1:${port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

const encoded = (text: string) => new TextEncoder().encode(text);

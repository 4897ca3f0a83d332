import { onTestFinished } from 'vitest';
import type { EndorsementSource } from '../endorsement-source.js';
import { kdsRoutes } from '../server.js';

/** The real server on loopback, which counts requests and can be told what to answer before it serves. */
export async function countedService(...sources: EndorsementSource[]) {
  const requests: string[] = [];
  const scripted: { status: number; headers?: Record<string, string>; body?: Uint8Array }[] = [];
  const server = kdsRoutes(sources);
  server.addHook('onRequest', async (request, reply) => {
    requests.push(request.url);
    const next = scripted.shift();
    if (next !== undefined) {
      return reply
        .code(next.status)
        .headers(next.headers ?? {})
        .send(Buffer.from(next.body ?? []));
    }
    return undefined;
  });
  const url = await server.listen({ host: '127.0.0.1', port: 0 });
  onTestFinished(async () => server.close());
  return { url, requests, scripted };
}

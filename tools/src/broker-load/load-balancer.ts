import { once } from 'node:events';
import { Agent, createServer, request } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

export interface LoadBalancer {
  readonly address: string;
  /** Requests that each place was sent. */
  readonly sent: readonly number[];
  close(): Promise<void>;
}

/**
 * A load balancer for tests: every request of a connection goes to another replica than the one before it. Where a
 * replica does not answer, it answers with 502, and the client may try again.
 * @param addresses where the replicas are now
 * @param onRequest told of every request that has been passed on
 */
export async function roundRobin(
  addresses: () => readonly string[],
  onRequest: () => void = () => undefined,
): Promise<LoadBalancer> {
  const agent = new Agent({ keepAlive: true });
  const turns = new WeakMap<Socket, number>();
  const sent: number[] = [];
  const server = createServer((incoming, answer) => {
    const replicas = addresses();
    const turn = turns.get(incoming.socket) ?? 0;
    turns.set(incoming.socket, turn + 1);
    const place = turn % replicas.length;
    sent[place] = (sent[place] ?? 0) + 1;
    const { hostname, port } = new URL(replicas[place]!);
    const { method = 'GET', url = '/', headers } = incoming;
    const unanswered = () => {
      if (answer.headersSent) answer.destroy();
      else answer.writeHead(502).end();
    };
    const outgoing = request({ agent, host: hostname, port, method, path: url, headers }, (response) => {
      answer.writeHead(response.statusCode ?? 502, response.headers);
      response.on('error', unanswered).pipe(answer);
    });
    outgoing.on('error', unanswered);
    incoming.pipe(outgoing);
    onRequest();
  });
  // A client that waits for a replica to come back keeps its connection.
  server.keepAliveTimeout = 0;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    address: `http://127.0.0.1:${port}`,
    sent,
    async close() {
      agent.destroy();
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

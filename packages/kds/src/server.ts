import { fromHex, generations, UnavailableError } from '@vouchsafe/sev';
import { type FastifyInstance, type FastifyReply, fastify } from 'fastify';
import type { EndorsementSource } from './endorsement-source.js';
import { askArkPaths } from './key-service.js';

export interface ServeKdsOptions {
  /** Loopback unless told otherwise: what a development authority endorses is worth nothing to others. */
  readonly host?: string;
  /** 0, the default, takes a free one. */
  readonly port?: number;
}

export interface KdsServer {
  /** Base address for `createKdsClient`. */
  readonly url: string;
  close(): Promise<void>;
}

/**
 * The routes of AMD's key service over the given sources, the first that knows a certificate answering. Without a
 * listener, for a server that has more to serve.
 */
export function kdsRoutes(sources: readonly EndorsementSource[]): FastifyInstance {
  const server = fastify({ logger: false, exposeHeadRoutes: false, routerOptions: { maxParamLength: 256 } });
  const octets = async (
    reply: FastifyReply,
    find: (source: EndorsementSource) => Promise<Uint8Array | undefined>,
  ) => {
    for (const source of sources) {
      const found = await find(source);
      if (found !== undefined) return reply.type('application/octet-stream').send(Buffer.from(found));
    }
    return reply.callNotFound();
  };

  // The pattern admits nothing that could mean something to a file system.
  server.get<{ Params: { id: string } }>('/cek/id/:id(^[0-9a-f]{128}$)', async (request, reply) => {
    const chipId = fromHex(request.params.id);
    return octets(reply, (source) => source.findCek(chipId));
  });

  for (const generation of generations) {
    for (const path of askArkPaths(generation)) {
      server.get(path, async (_request, reply) => octets(reply, (source) => source.findAskArk(generation)));
    }
  }

  server.setNotFoundHandler(async (_request, reply) =>
    reply.code(404).type('text/plain').send('not known here\n'),
  );
  server.setErrorHandler(async (error, _request, reply) => {
    const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500;
    return reply.code(status).type('text/plain').send('this request cannot be served\n');
  });
  return server;
}

/**
 * Serves endorsements under the same paths as AMD's key service.
 * @throws UnavailableError when the address cannot be listened on
 */
export async function serveKds(
  source: EndorsementSource | readonly EndorsementSource[],
  { host = '127.0.0.1', port = 0 }: ServeKdsOptions = {},
): Promise<KdsServer> {
  const server = kdsRoutes(
    Array.isArray(source) ? (source as readonly EndorsementSource[]) : [source as EndorsementSource],
  );
  try {
    return { url: await server.listen({ host, port }), close: () => server.close() };
  } catch (cause) {
    await server.close();
    throw new UnavailableError(
      `${host}:${port}`,
      `cannot be listened on: ${cause instanceof Error ? cause.message : 'failed'}`,
      {
        hint: 'choose another port, or 0 for a free one',
        cause,
      },
    );
  }
}

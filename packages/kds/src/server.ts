import { fromHex, generations, UnavailableError } from '@vouchsafe/sev';
import { type FastifyInstance, type FastifyReply, fastify } from 'fastify';
import type { EndorsementSource } from './endorsement-source.js';
import { askArkPaths } from './key-service.js';
import { ThrottledError } from './request.js';
import { QueueFullError } from './request-queue.js';
import { readEndorsementPath } from './snp/endorsement-request.js';

export interface ServeKdsOptions extends KdsRoutesOptions {
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

export interface KdsRoutesOptions {
  /** Lets web pages of every origin read what is served, by CORS: all of it is public. Left out, browsers refuse. */
  readonly browsers?: boolean;
}

/** Methods of the routes. */
const methods = 'GET, OPTIONS';

/**
 * The routes of AMD's key service over the given sources, the first that knows a certificate answering. Without a
 * listener, for a server that has more to serve.
 */
export function kdsRoutes(
  sources: readonly EndorsementSource[],
  { browsers = false }: KdsRoutesOptions = {},
): FastifyInstance {
  const server = fastify({
    logger: false,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 256 },
    requestTimeout: 30_000,
    // A stranger who sends half a request must not keep the server from closing.
    forceCloseConnections: true,
  });
  const octets = async (
    reply: FastifyReply,
    find: (source: EndorsementSource) => Promise<Uint8Array | undefined> | undefined,
    type = 'application/octet-stream',
  ) => {
    for (const source of sources) {
      const found = await find(source);
      if (found !== undefined) return reply.type(type).send(Buffer.from(found));
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

  // Read as it stands, escapes included: what is not exactly a path of the key service is not known here.
  for (const service of ['/vcek/v1/*', '/vlek/v1/*']) {
    server.get(service, async (request, reply) => {
      const asked = readEndorsementPath(request.url);
      if (asked === undefined) return reply.callNotFound();
      // A list that lay in a browser's cache could outlive its next update.
      if (asked.what === 'crl') reply.header('cache-control', 'no-store');
      const type = asked.what === 'chain' ? 'application/x-pem-file' : undefined;
      return octets(reply, (source) => source.findEndorsement?.(asked), type);
    });
  }

  if (browsers) {
    server.addHook('onRequest', async (_request, reply) => {
      reply.headers({ 'access-control-allow-origin': '*', 'access-control-expose-headers': 'retry-after' });
    });
    server.options('/*', async (_request, reply) =>
      reply
        .code(204)
        .headers({ 'access-control-allow-methods': methods, 'access-control-max-age': '86400' })
        .send(),
    );
  }

  server.setNotFoundHandler(async (_request, reply) =>
    reply.code(404).type('text/plain').send('not known here\n'),
  );
  server.setErrorHandler(async (error, _request, reply) => {
    if (error instanceof ThrottledError) reply.header('retry-after', error.retryAfterSeconds);
    return reply.code(statusOf(error)).type('text/plain').send('this request cannot be served\n');
  });
  return server;
}

/** A mirror's own service may be silent (502), or this one asked too much (503): the asker can tell both from an error here. */
function statusOf(error: unknown): number {
  if (error instanceof ThrottledError || error instanceof QueueFullError) return 503;
  if (error instanceof UnavailableError) return 502;
  return error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500;
}

/**
 * Serves endorsements under the same paths as AMD's key service.
 * @throws UnavailableError when the address cannot be listened on
 */
export async function serveKds(
  source: EndorsementSource | readonly EndorsementSource[],
  { host = '127.0.0.1', port = 0, browsers = false }: ServeKdsOptions = {},
): Promise<KdsServer> {
  const server = kdsRoutes(
    Array.isArray(source) ? (source as readonly EndorsementSource[]) : [source as EndorsementSource],
    { browsers },
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

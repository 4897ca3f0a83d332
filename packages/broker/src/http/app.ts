import rateLimit from '@fastify/rate-limit';
import { rcarErrorOf, rcarPrefix } from '@vouchsafe/protocol';
import {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  LogController,
} from 'fastify';
import { ForbiddenError, UnauthenticatedError } from '../administration/refused.js';
import { answerTo, RateLimitedError } from './errors.js';
import { type LogOptions, loggerOptions } from './log.js';
import type { BrokerMetrics } from './metrics.js';
import type { TlsIdentity } from './tls.js';
import type { RateLimit } from './token-bucket.js';

export interface HttpLimits {
  /** Bytes of a body; routes that need more say so. */
  readonly body: number;
  /** Milliseconds for a request to come in whole. */
  readonly requestTime: number;
  /** Requests of one client address, IPv6 by /64. */
  readonly perAddress: RateLimit;
}

const defaultHttpLimits: HttpLimits = {
  body: 64 * 1024,
  requestTime: 30_000,
  perAddress: { perMinute: 1200, burst: 1200 },
};

export interface AppOptions {
  readonly log: LogOptions;
  readonly metrics: BrokerMetrics;
  readonly limits?: Partial<HttpLimits>;
  readonly tls?: TlsIdentity;
  /** Proxies whose X-Forwarded-For is believed: addresses or networks. */
  readonly trustProxy?: readonly string[];
}

/** Bytes of all headers of a request: a token that carries its evidence has some thousand. */
const headerSize = 64 * 1024;

/** The frame that every route stands in: limits, rate limits, logs, metrics, errors. Nothing is served yet. */
export async function createApp(options: AppOptions): Promise<FastifyInstance> {
  const { log, metrics, tls, trustProxy = [] } = options;
  const limits = { ...defaultHttpLimits, ...options.limits };
  const common = {
    ...loggerOptions(log),
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: limits.body,
    requestTimeout: limits.requestTime,
    connectionTimeout: 2 * limits.requestTime,
    forceCloseConnections: true,
    trustProxy: trustProxy.length === 0 ? false : [...trustProxy],
    routerOptions: { maxParamLength: 512 },
    return503OnClosing: true,
    // Asking for the headers of a secret would release it.
    exposeHeadRoutes: false,
    // Before any route: its message would repeat the path. Trustee's clients end at once with this answer.
    frameworkErrors: (_error: unknown, { url }: FastifyRequest, reply: FastifyReply) => {
      const message = 'the path is malformed';
      void (url.startsWith(`${rcarPrefix}/`)
        ? reply.code(404).send(rcarErrorOf('InvalidRequestPath', message))
        : reply.code(400).send({ error: 'malformed', structure: 'request', field: 'path', message }));
    },
  };
  const app: FastifyInstance =
    tls === undefined
      ? fastify({ ...common, http: { maxHeaderSize: headerSize } })
      : // The type differs by the kind of server alone, which nothing here looks at.
        (fastify({
          ...common,
          https: { ...tls.options, maxHeaderSize: headerSize },
        }) as unknown as FastifyInstance);

  // No reader but those that a route asks for: a body of another type is refused.
  app.removeAllContentTypeParsers();
  await app.register(rateLimit, {
    global: true,
    max: limits.perAddress.burst,
    timeWindow: Math.ceil((limits.perAddress.burst / limits.perAddress.perMinute) * 60_000),
    ipv6Subnet: 64,
    errorResponseBuilder: (_request, { ttl }) => new RateLimitedError(Math.ceil(ttl / 1000)),
  });
  app.addHook('onResponse', async (request, reply) => {
    const seconds = reply.elapsedTime / 1000;
    const labels = { method: request.method, route: routeOf(request), status: reply.statusCode };
    metrics.request(labels, seconds);
    request.log.info({ ...labels, milliseconds: Math.round(reply.elapsedTime) }, 'answered');
  });
  app.server.on('connection', (socket) => {
    metrics.connections(1);
    socket.once('close', () => metrics.connections(-1));
  });
  app.setNotFoundHandler(async (_request, reply) => reply.code(404).send({ error: 'not-found' }));
  app.setErrorHandler(async (error, request, reply) => {
    const { status, body, headers } = answerTo(error);
    if (error instanceof UnauthenticatedError) request.log.warn({ reason: error.reason }, 'unauthenticated');
    if (error instanceof ForbiddenError) request.log.warn({ operation: error.operation }, 'forbidden');
    if (status >= 500) request.log.error({ failure: failureText(error) }, 'failed');
    return reply.code(status).headers(headers).send(body);
  });
  return app;
}

/** The pattern of the route, never the path: that may name a secret. */
function routeOf(request: FastifyRequest): string {
  return request.routeOptions.url ?? '(none)';
}

/** For the log: the kind of failure, and its message where it is one of ours and so free of secrets. */
export function failureText(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  return 'hint' in error ? `${error.name}: ${error.message}` : error.name;
}

import type { FastifyInstance } from 'fastify';
import type { KeyRing } from '../token/signing-keys.js';
import type { BrokerMetrics } from './metrics.js';

export interface ServiceRoutesOptions {
  readonly metrics: BrokerMetrics;
  readonly keys: Pick<KeyRing, 'publicKeys'>;
  /** What keeps the broker from working, in words; empty when it can. */
  readonly obstacles: () => Promise<readonly string[]>;
}

/** What load balancers, monitors and relying parties ask, who have no tokens. */
export function serviceRoutes(
  app: FastifyInstance,
  { metrics, keys, obstacles }: ServiceRoutesOptions,
): void {
  app.get('/healthz', async () => ({ status: 'ok' }));

  app.get('/readyz', async (_request, reply) => {
    const found = await obstacles();
    return reply
      .code(found.length === 0 ? 200 : 503)
      .send({ status: found.length === 0 ? 'ready' : 'not ready', obstacles: found });
  });

  app.get('/metrics', async (_request, reply) => {
    const { contentType, body } = await metrics.text();
    return reply.type(contentType).send(body);
  });
  app.route({
    method: ['POST', 'PUT', 'DELETE', 'PATCH'],
    url: '/metrics',
    onRequest: async (_request, reply) => reply.code(405).header('allow', 'GET').send({ error: 'only GET' }),
    handler: async () => undefined,
  });

  app.get('/.well-known/jwks.json', async (_request, reply) => {
    // A key that a relying party keeps for long is one that it trusts after it was withdrawn.
    return reply.header('cache-control', 'no-cache').send({ keys: await keys.publicKeys() });
  });
}

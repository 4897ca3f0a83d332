import { largestRequest } from '@vouchsafe/protocol';
import { InvalidArgumentError } from '@vouchsafe/sev';
import { type FastifyError, fastify } from 'fastify';
import { answerTo } from '../http/errors.js';
import { isLoopback, type ListenAddress, listen } from '../http/listen.js';
import type { GuestOwner } from './owner.js';
import { type OwnerDecision, preLaunchRoutes } from './routes.js';

export interface ServeGuestOwnerOptions {
  readonly onDecision?: (decision: OwnerDecision) => void;
  /** Failures of this program, which a caller is told nothing of. */
  readonly onError?: (error: Error) => void;
}

export interface GuestOwnerServer {
  /** `http://127.0.0.1:PORT` or `unix:PATH`, as `connectGuestOwner` takes it. */
  readonly address: string;
  /** Stops answering; the owner is the caller's to close. */
  close(): Promise<void>;
}

/**
 * Answers hosts over HTTP. Refusals are 403 with the Appraisal's checks, malformed requests 400 with the member, a body
 * over the limit 413, a service that the owner needs and that does not answer 503.
 * @throws InvalidArgumentError for an owner who trusts a development root and would listen beyond loopback
 * @throws UnavailableError when the address cannot be had
 */
export async function serveGuestOwner(
  owner: GuestOwner,
  address: ListenAddress,
  { onDecision = () => undefined, onError = () => undefined }: ServeGuestOwnerOptions = {},
): Promise<GuestOwnerServer> {
  requireLoopbackForDevelopment(owner, address);
  const app = fastify({
    logger: false,
    bodyLimit: largestRequest,
    requestTimeout: 30_000,
    forceCloseConnections: true,
  });
  app.removeAllContentTypeParsers();
  preLaunchRoutes(app, async () => owner, onDecision);

  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ error: 'not-found' }));
  app.setErrorHandler<FastifyError | Error>((error, _request, reply) => {
    const { status, body, headers } = answerTo(error);
    if (status === 500) onError(error);
    return reply.code(status).headers(headers).send(body);
  });

  const sweep = setInterval(() => void owner.endExpiredSessions().catch(onError), sweepInterval);
  sweep.unref();
  app.addHook('onClose', async () => clearInterval(sweep));
  return { address: await listen(app, address, 'guest owner'), close: () => app.close() };
}

const sweepInterval = 10_000;

function requireLoopbackForDevelopment({ development }: GuestOwner, address: ListenAddress): void {
  if (!development || isLoopback(address)) return;
  const host = 'host' in address ? address.host : '';
  throw new InvalidArgumentError(
    'host',
    `an owner who trusts a development root answers on loopback only, not on ${host}`,
  );
}

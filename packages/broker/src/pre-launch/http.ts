import { largestRequest } from '@vouchsafe/protocol';
import { InvalidArgumentError, MalformedError, UnavailableError } from '@vouchsafe/sev';
import { type FastifyError, fastify } from 'fastify';
import { isLoopback, type ListenAddress, listen } from '../http/listen.js';
import type { GuestOwner } from './owner.js';
import { type OwnerDecision, preLaunchRoutes } from './routes.js';

export type OwnerAddress = ListenAddress;

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
  address: OwnerAddress,
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
    const { status, body } = answerTo(error);
    if (status === 500) onError(error);
    return reply.code(status).send(body);
  });

  const sweep = setInterval(() => void owner.endExpiredSessions().catch(onError), sweepInterval);
  sweep.unref();
  app.addHook('onClose', async () => clearInterval(sweep));
  return { address: await listen(app, address, 'guest owner'), close: () => app.close() };
}

const sweepInterval = 10_000;

function requireLoopbackForDevelopment({ development }: GuestOwner, address: OwnerAddress): void {
  if (!development || isLoopback(address)) return;
  const host = 'host' in address ? address.host : '';
  throw new InvalidArgumentError(
    'host',
    `an owner who trusts a development root answers on loopback only, not on ${host}`,
  );
}

/** Only errors that are meant for callers are shown to them. */
function answerTo(error: Error): { status: number; body: Record<string, unknown> } {
  if (error instanceof MalformedError) {
    const { code, structure, field, expected, found } = error;
    return { status: 400, body: { error: code, structure, field, expected, found } };
  }
  if (error instanceof InvalidArgumentError) {
    return { status: 400, body: { error: error.code, argument: error.argument, message: error.message } };
  }
  if (error instanceof UnavailableError) {
    return {
      status: 503,
      body: {
        error: error.code,
        message: error.message,
        ...(error.hint === undefined ? {} : { hint: error.hint }),
      },
    };
  }
  const status = 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : 500;
  if (status >= 400 && status < 500) return { status, body: { error: httpErrors[status] ?? 'bad-request' } };
  return { status: 500, body: { error: 'internal' } };
}

const httpErrors: Readonly<Record<number, string>> = { 413: 'too-large', 415: 'not-json' };

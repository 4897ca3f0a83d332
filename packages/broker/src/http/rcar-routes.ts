import {
  largestRcarRequest,
  parseResourcePath,
  rcarCookie,
  rcarErrorOf,
  rcarPrefix,
} from '@vouchsafe/protocol';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { GuestCredentials, GuestService } from '../attestation/guest-service.js';
import { EvidenceRefusedError, ReleaseDeniedError, SessionRefusedError } from '../attestation/refused.js';
import { failureText } from './app.js';
import { bearerOf } from './bearer.js';
import { textOf } from './body.js';
import { type RcarPurpose, rcarAnswerTo } from './rcar-errors.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a route under `/kbs/v0` is for, which names its errors. */
    rcar?: RcarPurpose;
  }
}

/**
 * Everything under `/kbs/v0`: readers of any content type, as Trustee's clients are free with it, and errors as they know
 * them. `routes` adds what is served.
 */
export async function rcarScope(
  app: FastifyInstance,
  routes: (scope: FastifyInstance) => void,
): Promise<void> {
  await app.register(
    async (scope) => {
      scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
      scope.setErrorHandler(async (error, request, reply) => {
        const { status, headers, body } = rcarAnswerTo(error, request.routeOptions.config.rcar ?? 'resource');
        if (error instanceof ReleaseDeniedError || error instanceof EvidenceRefusedError)
          request.log.info({ reference: error.reference }, error.code);
        if (status >= 500) request.log.error({ failure: failureText(error) }, 'failed');
        return reply.code(status).headers(headers).send(body);
      });
      scope.setNotFoundHandler(async (_request, reply) =>
        reply.code(404).send(rcarErrorOf('PluginNotFound', 'there is no such plugin')),
      );
      routes(scope);
    },
    { prefix: rcarPrefix },
  );
}

/** The guest's side: challenge, attestation, resources. */
export function guestRoutes(scope: FastifyInstance, guests: GuestService): void {
  scope.post('/auth', { config: { rcar: 'attestation' } }, async ({ body }, reply) => {
    const { cookie, expiresAt, nonce } = await guests.challenge(textOf(body));
    return setSession(reply, cookie, expiresAt).send({ nonce, 'extra-params': '' });
  });

  scope.post(
    '/attest',
    { config: { rcar: 'attestation' }, bodyLimit: largestRcarRequest },
    async (request, reply) => {
      const { token, cookie, expiresAt } = await guests.attest(sessionOf(request), textOf(request.body));
      return setSession(reply, cookie, expiresAt).send({ token });
    },
  );

  scope.get('/resource/*', { config: { rcar: 'resource' } }, async (request, reply) => {
    const path = parseResourcePath(pathAfter(request, '/resource/'));
    const sealed = await guests.release(credentialsOf(request), path);
    return reply.header('cache-control', 'no-store').send(sealed);
  });
}

/** The path as it was sent: nothing decoded, nothing resolved. */
export function pathAfter({ url }: FastifyRequest, route: string): string {
  const [path = ''] = url.split('?', 1);
  return path.slice(rcarPrefix.length + route.length);
}

function setSession(reply: FastifyReply, cookie: string, expiresAt: number): FastifyReply {
  return reply
    .header('set-cookie', `${rcarCookie}=${cookie}; Expires=${new Date(expiresAt).toUTCString()}`)
    .header('cache-control', 'no-store');
}

/** The one session that a request names. Two cookies of the name would let one reader see another session than the next. */
function sessionOf({ headers }: FastifyRequest): string | undefined {
  const values = (headers.cookie ?? '')
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${rcarCookie}=`))
    .map((pair) => pair.slice(rcarCookie.length + 1));
  if (new Set(values).size > 1) throw new SessionRefusedError();
  return values[0];
}

function credentialsOf(request: FastifyRequest): GuestCredentials {
  return { cookie: sessionOf(request), bearer: bearerOf(request) };
}

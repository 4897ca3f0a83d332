import type { FastifyRequest } from 'fastify';
import type { AdminTokenQuery } from '../administration/admin-token-repository.js';
import { type AdminTokenRepository, authenticate, type Principal } from '../administration/admin-tokens.js';
import { ForbiddenError, UnauthenticatedError } from '../administration/refused.js';
import { mayDo, type Operation } from '../administration/roles.js';
import { bearerOf } from './bearer.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The administrative operation that a route is; without it, a route needs no administrator. */
    operation?: Operation;
  }
  interface FastifyRequest {
    /** Who asks, on a route that needs an administrator. */
    principal?: Principal;
  }
}

export interface AuthenticatorOptions {
  readonly tokens: Pick<AdminTokenRepository<AdminTokenQuery>, 'find'>;
  readonly query: AdminTokenQuery;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** JWTs of other providers, for Trustee's endpoints. */
  readonly trustee?: (token: string, now: number) => Promise<Principal>;
}

/**
 * Lets nobody pass who may not do what the route does. It runs before the body is read, so that strangers cannot send one.
 * @throws UnauthenticatedError, ForbiddenError
 */
export async function requireAdministrator(
  request: FastifyRequest,
  options: AuthenticatorOptions,
): Promise<void> {
  const { operation } = request.routeOptions.config;
  if (operation === undefined) return;
  const principal = await identify(request, options);
  if (!mayDo(principal.roles, operation)) throw new ForbiddenError(operation, principal.roles);
  request.principal = principal;
}

async function identify(request: FastifyRequest, options: AuthenticatorOptions): Promise<Principal> {
  const { tokens, query, now, trustee } = options;
  const token = bearerOf(request);
  if (token === undefined) throw new UnauthenticatedError('absent');
  if (trustee !== undefined && token.includes('.')) return trustee(token, now());
  return authenticate(query, tokens, token, now());
}

/** Who asks, on a route that {@link requireAdministrator} has let pass. */
export function principalOf({ principal }: FastifyRequest): Principal {
  if (principal === undefined) throw new UnauthenticatedError('absent');
  return principal;
}

import type { FastifyRequest } from 'fastify';

/** The token of `Authorization: Bearer …` (RFC 6750), if there is one. */
export function bearerOf({ headers }: Pick<FastifyRequest, 'headers'>): string | undefined {
  return /^Bearer ([A-Za-z0-9._~+/=-]+)$/i.exec(headers.authorization ?? '')?.[1];
}

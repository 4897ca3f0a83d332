import { z } from 'zod';
import { type AdministrationContext, byWhom } from '../../administration/context.js';
import { ForbiddenError } from '../../administration/refused.js';
import { issueToken, listTokens, revokeToken, rotateKey } from '../../administration/tokens.js';
import { principalOf } from '../authentication.js';
import * as schemas from './schemas.js';
import type { AdminScope } from './scope.js';

const tags = ['administrators'];

export function tokenRoutes(scope: AdminScope, context: AdministrationContext): void {
  scope.get(
    '/tokens',
    {
      config: { operation: 'token.list' },
      schema: {
        tags,
        summary: 'List administrators’ tokens',
        response: { 200: z.array(schemas.tokenSummary) },
      },
    },
    async () => listTokens(context),
  );

  scope.post(
    '/tokens',
    {
      config: { operation: 'token.issue' },
      schema: {
        tags,
        summary: 'Issue a token; it is shown this once',
        body: schemas.newToken,
        response: { 201: schemas.issuedToken },
      },
    },
    async (request, reply) => {
      const { name, roles, lifetime } = request.body;
      const who = principalOf(request);
      // Nobody makes a token that may do more than its maker.
      const beyond = roles.filter((role) => !who.roles.includes(role));
      if (beyond.length > 0) throw new ForbiddenError('token.issue', who.roles, beyond);
      const wanted = { name, roles, lifetime: lifetime * 1000 };
      const issued = await issueToken(context, wanted, byWhom(who));
      return reply.code(201).header('cache-control', 'no-store').send(issued);
    },
  );

  scope.delete(
    '/tokens/:id',
    {
      config: { operation: 'token.revoke' },
      schema: {
        tags,
        summary: 'Revoke a token',
        params: schemas.tokenParams,
        response: { 200: schemas.done },
      },
    },
    async (request) => {
      await revokeToken(context, request.params.id, principalOf(request));
      return { done: true } as const;
    },
  );

  scope.post(
    '/keys/rotate',
    {
      config: { operation: 'key.rotate' },
      schema: {
        tags,
        summary: 'Make a new key that signs attestation tokens',
        body: schemas.rotation,
        response: { 200: schemas.publicKey },
      },
    },
    async (request) => rotateKey(context, request.body.overlap, byWhom(principalOf(request))),
  );
}

import swagger from '@fastify/swagger';
import { parseStrictJson } from '@vouchsafe/protocol';
import type {
  FastifyBaseLogger,
  FastifyInstance,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify';
import {
  jsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod';
import { operations } from '../../administration/roles.js';
import { textOf } from '../body.js';

const adminPrefix = '/v1';

/** Where routes stand whose zod schemas are validation, types and description in one. */
export type AdminScope = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** The description of the administrators' API, at `/openapi.json`. It knows the routes that are registered after it. */
export async function describeApi(app: FastifyInstance, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Vouchsafe key broker',
        version,
        description: 'The administrators’ side. Guests speak the protocol of Trustee, below /kbs/v0.',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    // Guests and hosts speak protocols that are described elsewhere.
    transform: (route) =>
      route.url.startsWith(adminPrefix) ? described(route) : { schema: { hide: true }, url: route.url },
  });
  app.get('/openapi.json', async () => app.swagger());
}

/** What every operation answers with when it does not do what it was asked. */
const refusal = {
  description:
    'What was wrong: with the request (400), with the token (401, 403), or that there is none (404)',
  type: 'object',
  properties: {
    error: { type: 'string' },
    message: { type: 'string' },
    hint: { type: 'string', description: 'what to do about it' },
  },
  required: ['error'],
};

/** A route as its schemas say, with what they do not: who may do it, and how it is refused. */
function described(given: Parameters<typeof jsonSchemaTransform>[0]): ReturnType<typeof jsonSchemaTransform> {
  const { schema, url } = jsonSchemaTransform(given);
  const { operation } = given.route.config ?? {};
  const holders = operation === undefined ? undefined : operations[operation].join(' or ');
  const response = { ...(schema.response as object | undefined), '4XX': refusal };
  return { schema: { ...schema, description: `Needs the role ${holders}.`, response }, url };
}

/** The administrators' API: strict JSON, zod schemas. `routes` adds what is served. */
export async function adminScope(app: FastifyInstance, routes: (scope: AdminScope) => void): Promise<void> {
  await app.register(
    async (plain) => {
      plain.setValidatorCompiler(validatorCompiler);
      plain.setSerializerCompiler(serializerCompiler);
      plain.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
        try {
          done(null, parseStrictJson('request', textOf(body)));
        } catch (error) {
          done(error as Error, undefined);
        }
      });
      routes(plain.withTypeProvider<ZodTypeProvider>());
    },
    { prefix: adminPrefix },
  );
}

import { largestSealedSecret } from '@vouchsafe/protocol';
import { InvalidArgumentError, Secret } from '@vouchsafe/sev';
import { z } from 'zod';
import type { AdministrationContext } from '../../administration/context.js';
import {
  changeSecret,
  deleteSecret,
  describeSecret,
  listSecrets,
  putSecret,
} from '../../administration/secrets.js';
import { principalOf } from '../authentication.js';
import * as schemas from './schemas.js';
import type { AdminScope } from './scope.js';

const path = '/secrets/:repository/:type/:tag';
const tags = ['secrets'];

/** Secrets go in and never come out here. */
export function secretRoutes(scope: AdminScope, context: AdministrationContext): void {
  scope.get(
    '/secrets',
    {
      config: { operation: 'secret.list' },
      schema: { tags, summary: 'List secrets', response: { 200: z.array(schemas.secretDescription) } },
    },
    async () => listSecrets(context),
  );

  scope.get(
    path,
    {
      config: { operation: 'secret.list' },
      schema: {
        tags,
        summary: 'Describe a secret',
        params: schemas.resourceParams,
        response: { 200: schemas.secretDescription },
      },
    },
    async ({ params }) => describeSecret(context, params),
  );

  scope.put(
    path,
    {
      config: { operation: 'secret.put' },
      bodyLimit: 2 * largestSealedSecret,
      schema: {
        tags,
        summary: 'Store a version of a secret',
        params: schemas.resourceParams,
        body: schemas.newSecret,
        response: { 201: z.object({ version: z.number() }) },
      },
    },
    async (request, reply) => {
      const { content, notBefore, notAfter, releases, policy } = request.body;
      const secret = Secret.take(schemas.decoded(content));
      try {
        const given = {
          content: secret,
          notBefore: notBefore === undefined ? undefined : Date.parse(notBefore),
          notAfter: notAfter === undefined ? undefined : Date.parse(notAfter),
          releases,
          policy,
        };
        return reply.code(201).send(await putSecret(context, request.params, given, principalOf(request)));
      } finally {
        secret.zero();
      }
    },
  );

  scope.patch(
    path,
    {
      config: { operation: 'secret.change' },
      schema: {
        tags,
        summary: 'Enable, disable, or put under another policy',
        params: schemas.resourceParams,
        body: schemas.secretChange,
        response: { 200: schemas.done },
      },
    },
    async (request) => {
      const { state, version } = request.body;
      if (version !== undefined && state === undefined)
        throw new InvalidArgumentError('version', 'is given with a state only: a policy is for all versions');
      await changeSecret(context, request.params, request.body, principalOf(request));
      return { done: true } as const;
    },
  );

  scope.delete(
    path,
    {
      config: { operation: 'secret.delete' },
      schema: {
        tags,
        summary: 'Destroy a version of a secret, or all',
        params: schemas.resourceParams,
        querystring: schemas.versionQuery,
        response: { 200: schemas.done },
      },
    },
    async (request) => {
      await deleteSecret(context, request.params, request.query.version, principalOf(request));
      return { done: true } as const;
    },
  );
}

import { toBase64 } from '@vouchsafe/sev';
import { z } from 'zod';
import type { AdministrationContext } from '../../administration/context.js';
import { deletePolicy, findPolicy, listPolicies, setPolicy } from '../../administration/policies.js';
import { principalOf } from '../authentication.js';
import * as schemas from './schemas.js';
import type { AdminScope } from './scope.js';

const path = '/policies/:name';
const tags = ['policies'];

export function policyRoutes(scope: AdminScope, context: AdministrationContext): void {
  scope.get(
    '/policies',
    {
      config: { operation: 'policy.list' },
      schema: { tags, summary: 'List release policies', response: { 200: z.array(schemas.policySummary) } },
    },
    async () => listPolicies(context),
  );

  scope.get(
    path,
    {
      config: { operation: 'policy.list' },
      schema: {
        tags,
        summary: 'Show a release policy',
        params: schemas.nameParams,
        response: { 200: schemas.policyText },
      },
    },
    async ({ params }) => {
      const { content, ...summary } = await findPolicy(context, params.name);
      return { ...summary, policy: toBase64(content) };
    },
  );

  scope.put(
    path,
    {
      config: { operation: 'policy.set' },
      bodyLimit: 12 * 1024 * 1024,
      schema: {
        tags,
        summary: 'Set a release policy; `default` decides where a secret names none',
        params: schemas.nameParams,
        body: schemas.newPolicy,
        response: { 200: schemas.policySet },
      },
    },
    async (request) => {
      const content = schemas.decoded(request.body.policy);
      return setPolicy(context, { name: request.params.name, content }, principalOf(request));
    },
  );

  scope.delete(
    path,
    {
      config: { operation: 'policy.delete' },
      schema: {
        tags,
        summary: 'Delete a release policy: what it decided over is denied from then on',
        params: schemas.nameParams,
        response: { 200: schemas.done },
      },
    },
    async (request) => {
      await deletePolicy(context, request.params.name, principalOf(request));
      return { done: true } as const;
    },
  );
}

import { z } from 'zod';
import type { AdministrationContext } from '../../administration/context.js';
import { deleteLaunch, listLaunches, setLaunch } from '../../administration/launches.js';
import type { BrokerOwners } from '../../pre-launch/broker-owner.js';
import { launchKindSchema } from '../../pre-launch/launch-kind.js';
import { principalOf } from '../authentication.js';
import * as schemas from './schemas.js';
import type { AdminScope } from './scope.js';

const tags = ['launches'];
const description = z.object({
  name: z.string(),
  version: z.number(),
  author: z.string(),
  createdAt: z.string(),
  launch: z.unknown().describe('as it was set'),
});

/** Kinds of launch that are expected of hosts, for SEV and SEV-ES. */
export function launchRoutes(
  scope: AdminScope,
  context: AdministrationContext,
  owners: Pick<BrokerOwners, 'check'>,
): void {
  scope.get(
    '/launches',
    {
      config: { operation: 'launch.list' },
      schema: { tags, summary: 'List expected kinds of launch', response: { 200: z.array(description) } },
    },
    async () => listLaunches(context),
  );

  scope.put(
    '/launches/:name',
    {
      config: { operation: 'launch.set' },
      bodyLimit: 4 * 1024 * 1024,
      schema: {
        tags,
        summary:
          'Expect a kind of launch; hosts ask for `default` at the root, for others below /launches/NAME',
        params: schemas.nameParams,
        body: launchKindSchema,
        response: { 200: z.object({ name: z.string(), version: z.number() }) },
      },
    },
    async (request) => {
      const given = { name: request.params.name, launch: request.body };
      return setLaunch(context, owners, given, principalOf(request));
    },
  );

  scope.delete(
    '/launches/:name',
    {
      config: { operation: 'launch.delete' },
      schema: {
        tags,
        summary: 'Expect a kind of launch no more',
        params: schemas.nameParams,
        response: { 200: schemas.done },
      },
    },
    async (request) => {
      await deleteLaunch(context, request.params.name, principalOf(request));
      return { done: true } as const;
    },
  );
}

import { z } from 'zod';
import type { AdminScope } from './scope.js';

const brokerStatus = z.object({
  version: z.string(),
  replica: z.string(),
  database: z.string(),
  roots: z.array(z.string()).describe('the roots of trust that evidence must lead to'),
  demands: z.unknown().describe('what is demanded of every guest before a release policy is asked'),
  outsideCheckpoint: z
    .string()
    .nullable()
    .describe('where the newest checkpoint of the record is kept outside'),
  obstacles: z.array(z.string()).describe('what keeps the broker from working'),
});
type BrokerStatus = z.output<typeof brokerStatus>;

export function statusRoutes(scope: AdminScope, status: () => Promise<BrokerStatus>): void {
  scope.get(
    '/status',
    {
      config: { operation: 'status.show' },
      schema: { tags: ['service'], summary: 'How the broker is set up', response: { 200: brokerStatus } },
    },
    async () => status(),
  );
}

import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { appraisalToJson } from '@vouchsafe/sev';
import { z } from 'zod';
import { auditExport, auditTail, auditVerify, explain } from '../../administration/audit.js';
import type { AdministrationContext } from '../../administration/context.js';
import * as schemas from './schemas.js';
import type { AdminScope } from './scope.js';

const tags = ['record'];

/** The record, which can be read and not changed. */
export function auditRoutes(scope: AdminScope, context: AdministrationContext): void {
  scope.get(
    '/audit/entries',
    {
      config: { operation: 'audit.tail' },
      schema: {
        tags,
        summary: 'The newest entries, oldest first',
        querystring: schemas.tailQuery,
        response: { 200: z.array(schemas.recordEntry) },
      },
    },
    async ({ query }) => auditTail(context, query),
  );

  scope.get(
    '/audit/verify',
    {
      config: { operation: 'audit.verify' },
      schema: {
        tags,
        summary: 'Verify the whole record',
        response: { 200: schemas.appraisal },
      },
    },
    async () => appraisalToJson(await auditVerify(context)),
  );

  scope.get(
    '/audit/export',
    {
      config: { operation: 'audit.export' },
      schema: { tags, summary: 'The whole record, a line of JSON for each entry and checkpoint' },
    },
    async (_request, reply) => {
      const stream = new PassThrough();
      const written = auditExport(context, async (line) => {
        if (!stream.write(`${line}\n`)) await once(stream, 'drain', { signal: AbortSignal.timeout(60_000) });
      }).then(
        () => stream.end(),
        (error: unknown) => stream.destroy(error instanceof Error ? error : new Error('failed')),
      );
      void written;
      return reply.type('application/x-ndjson').send(stream);
    },
  );

  scope.get(
    '/decisions/:number',
    {
      config: { operation: 'decision.explain' },
      schema: {
        tags,
        summary: 'The whole answer behind the number that a guest was given',
        params: schemas.referenceNumberParams,
        response: { 200: schemas.explanation },
      },
    },
    async ({ params }) => explain(context, params.number),
  );
}

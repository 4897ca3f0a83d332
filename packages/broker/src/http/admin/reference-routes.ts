import { z } from 'zod';
import type { AdministrationContext } from '../../administration/context.js';
import { removeNamed } from '../../administration/policies.js';
import { listIssuers, listReferences, putReference, setIssuer } from '../../administration/references.js';
import type { ReferenceSet } from '../../reference-values/in-force.js';
import { principalOf } from '../authentication.js';
import * as schemas from './schemas.js';
import type { AdminScope } from './scope.js';

const tags = ['reference values'];

export function referenceRoutes(scope: AdminScope, context: AdministrationContext): void {
  scope.get(
    '/reference-values',
    {
      config: { operation: 'reference.list' },
      schema: {
        tags,
        summary: 'List reference values',
        response: { 200: z.array(schemas.referenceSummary) },
      },
    },
    async () => (await listReferences(context)).map(summary),
  );

  scope.post(
    '/reference-values',
    {
      config: { operation: 'reference.put' },
      bodyLimit: 5 * 1024 * 1024,
      schema: {
        tags,
        summary: 'Publish a signed document of reference values',
        body: schemas.newReference,
        response: { 201: schemas.referenceSummary.omit({ standing: true }) },
      },
    },
    async (request, reply) => {
      const { document } = await putReference(context, request.body.document, principalOf(request));
      const { issuer, name, version, notBefore, notAfter } = document;
      return reply.code(201).send({ issuer, name, version, notBefore, notAfter, document });
    },
  );

  scope.get(
    '/issuers',
    {
      config: { operation: 'issuer.list' },
      schema: {
        tags,
        summary: 'List trusted issuers',
        response: { 200: z.array(schemas.issuerDescription) },
      },
    },
    async () => (await listIssuers(context)).map(({ name, keys }) => ({ name, keys: [...keys] })),
  );

  scope.put(
    '/issuers/:name',
    {
      config: { operation: 'issuer.set' },
      schema: {
        tags,
        summary: 'Trust an issuer’s public keys, and no others of that name',
        params: schemas.nameParams,
        body: schemas.newIssuer,
        response: { 200: schemas.done },
      },
    },
    async (request) => {
      const given = { name: request.params.name, keys: request.body.keys };
      await setIssuer(context, given, principalOf(request));
      return { done: true } as const;
    },
  );

  scope.delete(
    '/issuers/:name',
    {
      config: { operation: 'issuer.delete' },
      schema: {
        tags,
        summary: 'Trust an issuer no more; its reference values do not count from then on',
        params: schemas.nameParams,
        response: { 200: schemas.done },
      },
    },
    async (request) => {
      const named = { name: request.params.name, kind: 'issuer', act: 'issuer.delete' } as const;
      await removeNamed(context, named, principalOf(request));
      return { done: true } as const;
    },
  );
}

function summary({ document, standing }: ReferenceSet) {
  const { issuer, name, version, notBefore, notAfter } = document;
  return { issuer, name, version, standing, notBefore, notAfter, document };
}

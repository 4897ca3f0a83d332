import { fromBase64Url, largestSealedSecret, parseResourcePath, parseStrictJson } from '@vouchsafe/protocol';
import { InvalidArgumentError, Secret } from '@vouchsafe/sev';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { type AdministrationContext, byWhom } from '../administration/context.js';
import { listPolicies, setPolicy } from '../administration/policies.js';
import { referenceValueOf, registerTrusteeValues } from '../administration/references.js';
import { NotFoundError } from '../administration/refused.js';
import { deleteSecret, putSecret } from '../administration/secrets.js';
import { defaultPolicyName } from '../policy/policy-store.js';
import { recogniseAttestationPolicy } from '../policy/trustee/recognition.js';
import { inTransaction } from '../state/database.js';
import { principalOf } from './authentication.js';
import { bytesOf, textOf } from './body.js';
import { pathAfter } from './rcar-routes.js';

const policyBody = z.object({ policy: z.string().max(8 * 1024 * 1024) });
const attestationPolicyBody = z.object({
  type: z.literal('rego'),
  policy_id: z.string().max(128),
  policy: z.string().max(1024 * 1024),
});

/** Policies and secrets come whole in a body. */
const largeBody = 12 * 1024 * 1024;

/** The administrator's side of Trustee's protocol, for its tools. The scope's hook has seen who asks. */
export function trusteeAdminRoutes(scope: FastifyInstance, context: AdministrationContext): void {
  scope.post(
    '/resource/*',
    { config: { rcar: 'administration', operation: 'secret.put' }, bodyLimit: largestSealedSecret },
    async (request, reply) => {
      const path = parseResourcePath(pathAfter(request, '/resource/'));
      const content = Secret.take(bytesOf(request.body));
      try {
        await putSecret(context, path, { content }, principalOf(request));
      } finally {
        content.zero();
      }
      return reply.send();
    },
  );

  scope.delete(
    '/resource/*',
    { config: { rcar: 'administration', operation: 'secret.delete' } },
    async (request, reply) => {
      const path = parseResourcePath(pathAfter(request, '/resource/'));
      await deleteSecret(context, path, undefined, principalOf(request));
      return reply.send();
    },
  );

  scope.post(
    '/resource-policy',
    { config: { rcar: 'policy', operation: 'policy.set' }, bodyLimit: largeBody },
    async (request, reply) => {
      const { policy } = read(policyBody, request.body);
      const content = decoded(policy);
      await setPolicy(context, { name: defaultPolicyName, content }, principalOf(request));
      return reply.send();
    },
  );

  scope.get('/resource-policy', { config: { rcar: 'policy', operation: 'policy.list' } }, async () => {
    const names = (await listPolicies(context)).map(({ name }) => name);
    return names.map((name) => (name === defaultPolicyName ? 'resource-policy' : name));
  });

  scope.post(
    '/attestation-policy',
    { config: { rcar: 'policy', operation: 'policy.set' }, bodyLimit: largeBody },
    async (request, reply) => {
      const { policy_id: id, policy } = read(attestationPolicyBody, request.body);
      if (id !== 'default_cpu' && id !== 'default')
        throw new InvalidArgumentError(
          'policy_id',
          'expected default_cpu: this broker appraises processors only',
        );
      const content = decoded(policy);
      recogniseAttestationPolicy(new TextDecoder().decode(content));
      const { state, policies } = context;
      const author = byWhom(principalOf(request));
      await inTransaction(state.db, async (tx) => {
        const name = 'default_cpu';
        const now = state.clock.now();
        const { version } = await policies.set(tx, { name, kind: 'attestation', content, author, now });
        const body = { act: 'attestation-policy.set', by: author, name, version };
        state.record.append(tx, { kind: 'administration', subject: `attestation policy ${name}`, body });
      });
      return reply.send();
    },
  );

  scope.post(
    '/reference-value',
    { config: { rcar: 'reference-values', operation: 'reference.put' }, bodyLimit: largeBody },
    async (request, reply) => {
      const message = parseStrictJson('reference value', textOf(request.body));
      await registerTrusteeValues(context, message, principalOf(request));
      return reply.send();
    },
  );

  scope.get<{ Params: { readonly '*': string } }>(
    '/reference-value/*',
    { config: { rcar: 'reference-values', operation: 'reference.list' } },
    async (request, reply) => {
      const value = await referenceValueOf(context, request.params['*']);
      if (value === undefined) throw new NotFoundError('reference value');
      return reply.type('application/json').send(JSON.stringify(value));
    },
  );
}

/** Passes over members that Trustee's tools may add. @throws MalformedError, InvalidArgumentError naming the member */
function read<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(parseStrictJson('request', textOf(body)));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new InvalidArgumentError(issue?.path.join('.') || 'body', issue?.message ?? 'not as expected');
}

/** Base64url without padding; Trustee's own tools never pad. */
function decoded(text: string): Uint8Array {
  try {
    return fromBase64Url(text);
  } catch {
    throw new InvalidArgumentError('policy', 'expected base64url without padding');
  }
}

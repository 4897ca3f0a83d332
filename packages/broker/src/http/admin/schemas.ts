import { largestSealedSecret } from '@vouchsafe/protocol';
import { fromBase64 } from '@vouchsafe/sev';
import { z } from 'zod';
import { roles } from '../../administration/roles.js';
import { entryKinds } from '../../record/entry.js';

/** What the administrators' API takes and gives; its description in OpenAPI is made of this. */

const segment = z
  .string()
  .max(128)
  .regex(/^[A-Za-z0-9_-][A-Za-z0-9_.-]*$/);
export const resourceParams = z.strictObject({ repository: segment, type: segment, tag: segment });
export const nameParams = z.strictObject({
  name: z
    .string()
    .max(128)
    .regex(/^[A-Za-z0-9_][A-Za-z0-9_.@-]*$/),
});

const moment = z.iso.datetime().describe('ISO 8601, UTC');
const base64 = (most: number) =>
  z
    .string()
    .max(Math.ceil(most / 3) * 4)
    .refine(isBase64, 'expected base64 with padding')
    .describe('base64');
const whole = z
  .int()
  .min(1)
  .max(2 ** 31);

export const newSecret = z.strictObject({
  content: base64(largestSealedSecret),
  notBefore: moment.optional(),
  notAfter: moment.optional(),
  releases: whole.optional().describe('how often it may be released; 1 for a one-time secret'),
  policy: nameParams.shape.name
    .nullable()
    .optional()
    .describe('its release policy; null for the default one'),
});

export const secretChange = z
  .strictObject({
    state: z.enum(['enabled', 'disabled']).optional(),
    version: whole.optional(),
    policy: nameParams.shape.name.nullable().optional(),
  })
  .refine((change) => change.state !== undefined || change.policy !== undefined, 'expected a change');

export const versionQuery = z.strictObject({ version: z.coerce.number().int().min(1).optional() });

const state = z.enum(['enabled', 'disabled', 'deleted']);
export const secretDescription = z.object({
  id: z.string(),
  path: z.string(),
  state,
  policy: z.string().optional(),
  createdAt: z.string(),
  versions: z
    .array(
      z.object({
        version: z.number(),
        state,
        notBefore: z.string().optional(),
        notAfter: z.string().optional(),
        releaseLimit: z.number().optional(),
        released: z.number(),
        createdAt: z.string(),
      }),
    )
    .readonly(),
});

export const newPolicy = z.strictObject({
  policy: base64(8 * 1024 * 1024).describe('Cedar or Rego text, or the WebAssembly of compiled Rego'),
});
export const policySummary = z.object({
  name: z.string(),
  version: z.number(),
  language: z.string(),
  author: z.string(),
  createdAt: z.string(),
});
export const policySet = policySummary.extend({
  id: z.string().describe('SHA-384 of the policy, as decisions name it'),
  warnings: z.array(z.string()).readonly(),
});
export const policyText = policySummary.extend({ policy: z.string().describe('base64') });

export const newReference = z.strictObject({
  document: z
    .string()
    .max(4 * 1024 * 1024)
    .describe('a compact JWS over reference values'),
});
export const referenceSummary = z.object({
  issuer: z.string(),
  name: z.string(),
  version: z.number(),
  standing: z.enum(['in-force', 'future', 'ended', 'superseded']),
  notBefore: z.string(),
  notAfter: z.string(),
  document: z.unknown(),
});
export const newIssuer = z.strictObject({
  keys: z.array(z.record(z.string(), z.string())).min(1).max(16).describe('public JWKs, Ed25519 or P-256'),
});
export const issuerDescription = z.object({ name: z.string(), keys: z.array(z.unknown()).readonly() });

export const newToken = z.strictObject({
  name: z.string().min(1).max(100),
  roles: z.array(z.enum(roles)).min(1).max(roles.length),
  lifetime: z
    .int()
    .min(1)
    .max(90 * 86_400)
    .describe('seconds'),
});
export const tokenSummary = z.object({
  id: z.string(),
  name: z.string(),
  roles: z.array(z.string()).readonly(),
  createdAt: z.string(),
  expiresAt: z.string(),
  revokedAt: z.string().optional(),
});
export const issuedToken = tokenSummary.extend({ token: z.string().describe('shown this once') });
export const tokenParams = z.strictObject({ id: z.string().regex(/^[0-9a-f]{16}$/) });

export const rotation = z.strictObject({
  overlap: z
    .int()
    .min(0)
    .max(7 * 86_400)
    .describe('seconds for which tokens of the key before stay good; 0 for a key that was stolen'),
});
export const publicKey = z.object({
  kty: z.string(),
  crv: z.string(),
  alg: z.string(),
  use: z.string(),
  kid: z.string(),
  x: z.string(),
  y: z.string(),
});

export const tailQuery = z.strictObject({
  kind: z.enum(entryKinds).optional(),
  subject: z.string().max(1024).optional(),
  since: moment.optional(),
  limit: z.coerce.number().int().min(1).max(1000).optional(),
});
export const recordEntry = z.object({
  replica: z.string(),
  sequence: z.number(),
  reference: z.string(),
  at: z.string(),
  kind: z.string(),
  subject: z.string().optional(),
  body: z.unknown(),
});
export const appraisal = z.object({
  accepted: z.boolean(),
  root: z.unknown(),
  checks: z.array(
    z.object({
      id: z.string(),
      status: z.enum(['pass', 'fail', 'not-asked']),
      expected: z.string().optional(),
      found: z.string().optional(),
      hint: z.string().optional(),
    }),
  ),
});
export const explanation = z.object({
  entry: recordEntry,
  appraisal: recordEntry.optional(),
  decision: recordEntry.optional(),
});
export const referenceNumberParams = z.strictObject({ number: z.string().max(64) });
export const done = z.object({ done: z.literal(true) });

/** Bytes that a schema above has found to be base64. */
export const decoded = (text: string): Uint8Array => fromBase64(text);

function isBase64(text: string): boolean {
  try {
    fromBase64(text);
    return !/\s/.test(text);
  } catch {
    return false;
  }
}

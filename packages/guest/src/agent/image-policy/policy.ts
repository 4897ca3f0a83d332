import { message, strictObject } from '@vouchsafe/protocol';
import { z } from 'zod';
import { type ImageReference, scopesOf } from './image-reference.js';

/**
 * Image policies as container tools have them (containers-policy.json(5)). The file is strict, and so is this reader: a
 * member that it passed over could be the one that forbids.
 */

const text = z
  .string({ error: 'expected text' })
  .min(1, { error: 'expected text' })
  .max(4096, { error: 'expected at most 4096 characters' });
const base64 = z.base64({ error: 'expected base64' }).max(1024 * 1024, { error: 'expected at most 1 MiB' });

const identity = z.discriminatedUnion(
  'type',
  [
    strictObject({ type: z.literal('matchExact') }),
    strictObject({ type: z.literal('matchRepoDigestOrExact') }),
    strictObject({ type: z.literal('matchRepository') }),
    strictObject({ type: z.literal('exactReference'), dockerReference: text }),
    strictObject({ type: z.literal('exactRepository'), dockerRepository: text }),
    strictObject({ type: z.literal('remapIdentity'), prefix: text, signedPrefix: text }),
  ],
  { error: 'expected a kind of signed identity' },
);
export type SignedIdentity = z.output<typeof identity>;

/** Where keys are: one of the three. Paths are files of the guest, or `kbs:///repository/type/tag`. */
const keys = {
  keyPath: text.exactOptional(),
  keyPaths: z.array(text).min(1).exactOptional(),
  keyData: base64.exactOptional(),
};
const oneOfKeys = (given: { keyPath?: string; keyPaths?: string[]; keyData?: string }) =>
  [given.keyPath, given.keyPaths, given.keyData].filter((each) => each !== undefined).length === 1;
const oneOfKeysError = { error: 'expected one of keyPath, keyPaths and keyData' };

const requirement = z.discriminatedUnion(
  'type',
  [
    strictObject({ type: z.literal('insecureAcceptAnything') }),
    strictObject({ type: z.literal('reject') }),
    strictObject({
      type: z.literal('signedBy'),
      keyType: z.literal('GPGKeys', { error: 'expected GPGKeys' }),
      ...keys,
      signedIdentity: identity.exactOptional(),
    }).refine(oneOfKeys, oneOfKeysError),
    strictObject({
      type: z.literal('sigstoreSigned'),
      ...keys,
      signedIdentity: identity.exactOptional(),
    }).refine(oneOfKeys, oneOfKeysError),
  ],
  { error: 'expected insecureAcceptAnything, reject, signedBy or sigstoreSigned' },
);
export type PolicyRequirement = z.output<typeof requirement>;
export type SignatureRequirement = Extract<PolicyRequirement, { type: 'signedBy' | 'sigstoreSigned' }>;

const anObject = { error: 'expected an object' };
const requirements = z
  .array(requirement, { error: 'expected a list' })
  .min(1, { error: 'expected at least one requirement' })
  .max(64, { error: 'expected at most 64 requirements' });

/** Reads a policy. */
export const imagePolicy = message(
  'image policy',
  strictObject({
    default: requirements,
    transports: z.record(z.string(), z.record(z.string(), requirements, anObject), anObject).exactOptional(),
  }),
);
export type ImagePolicy = ReturnType<typeof imagePolicy.parse>;

/** What a policy demands of an image, and the scope that says so: the narrowest that holds it. All of them must be met. */
export function requirementsFor(
  policy: ImagePolicy,
  reference: ImageReference,
): { readonly scope: string; readonly requirements: readonly PolicyRequirement[] } {
  const scopes = own(policy.transports, reference.transport);
  for (const name of [...scopesOf(reference), '']) {
    const found = own(scopes, name);
    if (found !== undefined) return { scope: `${reference.transport}:${name}`, requirements: found };
  }
  return { scope: 'default', requirements: policy.default };
}

function own<T>(record: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return record !== undefined && Object.hasOwn(record, name) ? record[name] : undefined;
}

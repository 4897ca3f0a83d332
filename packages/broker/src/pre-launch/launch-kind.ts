import { parseResourcePath, parseStrictJson, utf8Text } from '@vouchsafe/protocol';
import { fromBase64, fromHex, guidToBytes, InvalidArgumentError, VouchsafeError } from '@vouchsafe/sev';
import { z } from 'zod';
import type { GuestOwnerOptions } from './owner.js';

const word = z.int().min(0).max(0xffff_ffff);
const byte = z.int().min(0).max(0xff);
const readsAs = (read: (text: string) => unknown, message: string) =>
  z
    .string()
    .max(8192)
    .refine((text) => {
      try {
        read(text);
        return true;
      } catch (error) {
        if (error instanceof VouchsafeError) return false;
        throw error;
      }
    }, message);

/**
 * One kind of launch that an owner expects, for SEV or SEV-ES by its policy: the digests it may have, and the secrets that
 * it gets if the release policies say so. Digests are computed where the images are.
 */
export const launchKindSchema = z
  .strictObject({
    /** Guest policy of every launch of this kind. */
    policy: word,
    digests: z
      .array(
        z.strictObject({
          name: z.string().min(1).max(200),
          /** Launch digest, 32 bytes, lower-case hexadecimal. */
          digest: z.string().regex(/^[0-9a-f]{64}$/),
        }),
      )
      .max(10_000)
      .default([]),
    /** Documents of reference values, as issuer/name, whose launch digests are expected as well while they are in force. */
    references: z.array(z.string().min(1).max(300)).max(64).default([]),
    /** Numbers of vCPUs, and CPUID 1 EAX of CPU models, that digests were computed for: SEV-ES measures them. */
    vcpus: z.array(word).max(1024).default([]),
    vcpuSignatures: z.array(word).max(1024).default([]),
    /** Under which GUID the guest finds which secret. */
    secrets: z
      .array(
        z.strictObject({
          guid: readsAs(guidToBytes, 'expected a GUID'),
          resource: readsAs(parseResourcePath, 'expected repository/type/tag'),
        }),
      )
      .min(1)
      .max(64),
    /** Certificate of the one platform owner (OCA, 0x824 bytes, base64) whose machines are welcome. */
    owner: readsAs((text) => fromBase64(text), 'expected base64').optional(),
    minimumApi: z.strictObject({ major: byte, minor: byte }).optional(),
    expectedBuilds: z.array(byte).min(1).max(256).optional(),
    allowApiBelow017: z.literal(true).optional(),
    allowDebug: z.literal(true).optional(),
    allowKeySharing: z.literal(true).optional(),
    allowMigrationToAnyone: z.literal(true).optional(),
  })
  .refine(({ digests, references }) => digests.length + references.length > 0, 'expects no digests');
export type LaunchKind = z.output<typeof launchKindSchema>;

/** Reads what {@link launchKindSchema} describes. @throws MalformedError, InvalidArgumentError naming the member */
export function parseLaunchKind(content: Uint8Array): LaunchKind {
  const parsed = launchKindSchema.safeParse(parseStrictJson('launch', utf8Text('launch', content)));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new InvalidArgumentError(`launch.${issue?.path.join('.')}`, issue?.message ?? 'not as expected');
}

export type KnownDigest = LaunchKind['digests'][number];

/** The options of a guest owner for this kind of launch, with the digests that reference values add, but for what is the same for all. */
export function ownerOptionsOf(
  kind: LaunchKind,
  referenced: readonly KnownDigest[] = [],
): Omit<GuestOwnerOptions, 'roots' | 'secrets' | 'random' | 'now'> {
  const { owner, minimumApi, expectedBuilds } = kind;
  return {
    policy: kind.policy,
    images: {
      digests: [...kind.digests, ...referenced].map(({ name, digest }) => ({
        name,
        digest: fromHex(digest),
      })),
      vcpus: kind.vcpus,
      vcpuSignatures: kind.vcpuSignatures,
    },
    ...(owner === undefined ? {} : { owner: fromBase64(owner) }),
    ...(minimumApi === undefined
      ? {}
      : { minimumApi: { apiMajor: minimumApi.major, apiMinor: minimumApi.minor } }),
    ...(expectedBuilds === undefined ? {} : { expectedBuilds }),
    allowApiBelow017: kind.allowApiBelow017 === true,
    allowDebug: kind.allowDebug === true,
    allowKeySharing: kind.allowKeySharing === true,
    allowMigrationToAnyone: kind.allowMigrationToAnyone === true,
  };
}

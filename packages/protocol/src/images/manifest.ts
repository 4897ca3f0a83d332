import { z } from 'zod';
import { message } from '../message.js';

/**
 * The documents of a container image in the OCI image format, as far as encryption needs them. Members that stand here
 * nowhere are kept as they are: a manifest that was read and written again still says all that it said.
 */

/** Longest manifest or index, in bytes: what registries take. */
export const largestImageDocument = 4 * 1024 * 1024;
const mostLayers = 1024;

const text = (greatest: number) =>
  z
    .string({ error: 'expected text' })
    .min(1, { error: 'expected text' })
    .max(greatest, { error: `expected at most ${greatest} characters` });
const sizeError = 'expected a number of bytes';

/** SHA-256 as images write it: `sha256:` and 64 lower-case hexadecimal digits. */
export const imageDigestMember = z
  .string({ error: 'expected a digest' })
  .regex(/^sha256:[0-9a-f]{64}$/, { error: 'expected sha256: and 64 lower-case hexadecimal digits' });

const annotations = z.record(z.string(), z.string({ error: 'expected text' }), {
  error: 'expected an object',
});

const descriptor = z.looseObject(
  {
    mediaType: text(255),
    digest: imageDigestMember,
    /** In bytes. */
    size: z.number({ error: sizeError }).int({ error: sizeError }).min(0, { error: sizeError }),
    annotations: annotations.exactOptional(),
  },
  { error: 'expected an object' },
);
/** Names a blob and says what it is. */
export type ImageDescriptor = z.output<typeof descriptor>;

const schemaVersion = z.literal(2, { error: 'expected 2' });

export const imageManifestType = 'application/vnd.oci.image.manifest.v1+json';

/** The manifest of one image: its configuration and its layers, the lowest first. */
export const imageManifest = message(
  'image manifest',
  z.looseObject(
    {
      schemaVersion,
      mediaType: z.literal(imageManifestType, { error: `expected ${imageManifestType}` }).exactOptional(),
      config: descriptor,
      layers: z
        .array(descriptor, { error: 'expected a list' })
        .max(mostLayers, { error: `expected at most ${mostLayers} layers` }),
      annotations: annotations.exactOptional(),
    },
    { error: 'expected an object' },
  ),
);
export type ImageManifest = ReturnType<typeof imageManifest.parse>;

/** `index.json` of an OCI layout: the images in it, each under a name in an annotation. */
export const imageIndex = message(
  'image index',
  z.looseObject(
    {
      schemaVersion,
      manifests: z
        .array(descriptor, { error: 'expected a list' })
        .max(mostLayers, { error: `expected at most ${mostLayers} manifests` }),
    },
    { error: 'expected an object' },
  ),
);
export type ImageIndex = ReturnType<typeof imageIndex.parse>;

/** `oci-layout`: what makes a folder an OCI layout. */
export const imageLayout = message(
  'OCI layout',
  z.looseObject(
    { imageLayoutVersion: z.literal('1.0.0', { error: 'expected 1.0.0' }) },
    { error: 'expected an object' },
  ),
);

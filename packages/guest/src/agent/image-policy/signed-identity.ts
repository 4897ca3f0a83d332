import { parseStrictJson } from '@vouchsafe/protocol';
import { InvalidArgumentError, MalformedError } from '@vouchsafe/sev';
import { type ImageReference, parseImageReference, referenceText } from './image-reference.js';
import type { SignedIdentity } from './policy.js';

/** What a signature says of an image; both kinds of signature sign the same document. */
export interface SignedClaim {
  /** Digest of the manifest: `sha256:…`. */
  readonly digest: string;
  /** The name under which it was signed. */
  readonly reference: string;
}

const types = {
  signedBy: 'atomic container signature',
  sigstoreSigned: 'cosign container image signature',
} as const;

/** Reads what was signed. @throws MalformedError */
export function parseSignedClaim(payload: Uint8Array, requirement: keyof typeof types): SignedClaim {
  const structure = 'image signature';
  const json = parseStrictJson(structure, new TextDecoder().decode(payload));
  const at = (...path: string[]) =>
    path.reduce<unknown>(
      (inside, name) =>
        typeof inside === 'object' && inside !== null && Object.hasOwn(inside, name)
          ? (inside as Record<string, unknown>)[name]
          : undefined,
      json,
    );
  const digest = at('critical', 'image', 'docker-manifest-digest');
  const reference = at('critical', 'identity', 'docker-reference');
  const refuse = (field: string, expected: string): never => {
    throw new MalformedError({ structure, field, offset: 0, expected, found: 'something else' });
  };
  if (at('critical', 'type') !== types[requirement]) refuse('/critical/type', types[requirement]);
  if (typeof digest !== 'string' || !/^sha256:[0-9a-f]{64}$/.test(digest))
    return refuse('/critical/image/docker-manifest-digest', 'sha256 and 64 digits');
  if (typeof reference !== 'string' || reference === '')
    return refuse('/critical/identity/docker-reference', 'a name');
  return { digest, reference };
}

/** Whether the name that was signed is good for this image. Without a rule it is `matchRepoDigestOrExact`. */
export function isSignedFor(
  image: ImageReference,
  signed: string,
  rule: SignedIdentity = { type: 'matchRepoDigestOrExact' },
): boolean {
  const claimed = read(signed);
  if (claimed === undefined) return false;
  const sameRepository = claimed.name === image.name;
  const same = referenceText(claimed) === referenceText(image);
  switch (rule.type) {
    case 'matchExact':
      return image.transport === 'docker' && image.tag !== undefined && same;
    case 'matchRepoDigestOrExact':
      return image.transport === 'docker' && (image.digest === undefined ? same : sameRepository);
    case 'matchRepository':
      return image.transport === 'docker' && sameRepository;
    case 'exactReference':
      return isSameText(claimed, rule.dockerReference);
    case 'exactRepository':
      return claimed.name === read(rule.dockerRepository)?.name;
    case 'remapIdentity': {
      const remapped = remap(image, rule.prefix, rule.signedPrefix);
      return remapped !== undefined && isSignedFor(remapped, signed);
    }
  }
}

const isSameText = (claimed: ImageReference, wanted: string) => {
  const other = read(wanted);
  return other !== undefined && referenceText(claimed) === referenceText(other);
};

/** An image outside the prefix keeps its name. */
function remap(image: ImageReference, prefix: string, signedPrefix: string): ImageReference | undefined {
  if (image.transport !== 'docker') return undefined;
  if (image.name !== prefix && !image.name.startsWith(`${prefix}/`)) return image;
  return { ...image, name: `${signedPrefix}${image.name.slice(prefix.length)}` };
}

function read(text: string): ImageReference | undefined {
  try {
    return parseImageReference(text);
  } catch (error) {
    if (error instanceof InvalidArgumentError) return undefined;
    throw error;
  }
}

import { readFile } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { InvalidArgumentError, MalformedError, openSecret, Secret, UnavailableError } from '@vouchsafe/sev';
import { type AgentResources, requireResource } from '../resources/resources.js';
import type { ImagePolicySource } from './gate.js';
import { imagePolicy } from './policy.js';

/** Where this guest's image policy is: its text, or the place to fetch it from. */
export type ImagePolicyPlace =
  | { readonly text: string }
  /** `kbs:///repository/type/tag`, `file:///path`, or an absolute path, such as one in the kernel's folder of secrets. */
  | { readonly place: string };

/** A policy, and keys, that come as secrets of the guest or lie in its files. */
export function imagePolicySource(
  policy: ImagePolicyPlace | undefined,
  resources: AgentResources,
): ImagePolicySource {
  const readKey = async (path: string) => {
    const secret = await readPlace(path, resources);
    try {
      return openSecret(secret).slice();
    } finally {
      secret.zero();
    }
  };
  return {
    readKey,
    async policy() {
      if (policy === undefined) return undefined;
      return imagePolicy.parseText('text' in policy ? policy.text : textOf(await readKey(policy.place)));
    },
  };
}

async function readPlace(place: string, resources: AgentResources): Promise<Secret> {
  if (/^kbs(?:\+[a-z0-9-]+)?:/.test(place)) return requireResource(resources, place);
  const path = place.replace(/^file:\/\//, '');
  if (!isAbsolute(path))
    throw new InvalidArgumentError('image policy', 'expected kbs:///repository/type/tag or an absolute path');
  try {
    return Secret.take(new Uint8Array(await readFile(path)));
  } catch (cause) {
    throw new UnavailableError('image policy', `${path} cannot be read`, { cause });
  }
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    const [expected, found] = ['text', 'bytes that are none'];
    throw new MalformedError({ structure: imagePolicy.name, field: '/', offset: 0, expected, found });
  }
}

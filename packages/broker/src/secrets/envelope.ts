import { openSecret, type RandomSource, Secret } from '@vouchsafe/sev';
import { contentPlace, keyPlace } from './resource-rows.js';
import { seal, unseal } from './sealing.js';
import type { StateKeys } from './state-keys.js';

/** A secret at rest: encrypted under a data key of its own, which the state's keys seal. */
export interface Envelope {
  readonly wrapped_key: Uint8Array;
  readonly ciphertext: Uint8Array;
}

/** Both parts are bound to the version of the resource: no other version can be given out in its place. */
export function closeEnvelope(
  keys: StateKeys,
  resource: string,
  version: number,
  secret: Secret,
  random: RandomSource,
): Envelope {
  const dataKey = Secret.take(random(32));
  try {
    return {
      wrapped_key: keys.seal(keyPlace(resource, version), openSecret(dataKey)),
      ciphertext: seal(dataKey, contentContext(resource, version), openSecret(secret), random),
    };
  } finally {
    dataKey.zero();
  }
}

/** Undefined for an envelope that was not closed for this version. */
export function openEnvelope(
  keys: StateKeys,
  resource: string,
  version: number,
  envelope: Envelope,
): Secret | undefined {
  const dataKey = keys.tryOpen(keyPlace(resource, version), envelope.wrapped_key);
  if (dataKey?.length !== 32) return undefined;
  try {
    return unseal(dataKey, contentContext(resource, version), envelope.ciphertext);
  } finally {
    dataKey.zero();
  }
}

function contentContext(resource: string, version: number): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(contentPlace(resource, version)));
}

import {
  aes256GcmOpen,
  aes256GcmSeal,
  concat,
  InvalidArgumentError,
  openSecret,
  type RandomSource,
  Secret,
  systemRandom,
  VouchsafeError,
} from '@vouchsafe/sev';
import type { ResourcePath } from '../rcar/resource-path.js';
import type { AnnotationPacket } from './annotation-packet.js';
import { keyIdText } from './key-id.js';

/** Length of a key that layers' options are wrapped with, in bytes. */
export const wrappingKeySize = 32;
const ivSize = 12;
const tagSize = 16;
const none = new Uint8Array();

/** The packet does not open under the key that it names: it was altered, or the key is another one. */
export class LayerKeyError extends VouchsafeError {
  readonly code = 'wrong-layer-key';

  constructor(keyId: string) {
    super(`the packet of this layer does not open under ${JSON.stringify(keyId.slice(0, 200))}`, {
      hint: 'it was altered, or it was made with another key: pull the image again, and compare the key with the one that it was encrypted with',
    });
  }
}

export interface WrapOptions {
  /** 32 bytes. */
  readonly key: Secret;
  readonly keyId: ResourcePath;
  /** What a container tool calls the layer's private options: opaque here. */
  readonly layerOptions: Secret;
  /** 1: four members, which every reader knows. 2: the provider named as well. Default 1. */
  readonly version?: 1 | 2;
  /** Draws the IV, 12 bytes. */
  readonly random?: RandomSource;
}

/**
 * Wraps the options of one layer with AES-256-GCM.
 * @throws InvalidArgumentError for a key of another length
 */
export async function wrapLayerOptions({
  key,
  keyId,
  layerOptions,
  version = 1,
  random = systemRandom,
}: WrapOptions): Promise<AnnotationPacket> {
  requireWrappingKey(key);
  const iv = random(ivSize);
  const { ciphertext, tag } = await aes256GcmSeal(key, iv, none, openSecret(layerOptions));
  const packet = {
    kid: keyIdText(keyId),
    wrapped_data: concat(ciphertext, tag),
    iv,
    wrap_type: 'A256GCM' as const,
  };
  if (version === 1) return packet;
  return { version: '0.1.0', provider: 'kbs', ...packet, provider_settings: {}, annotations: {} };
}

/**
 * The layer's options, for the caller to zero.
 * @throws LayerKeyError when the packet was altered or made with another key: which of the two cannot be told
 * @throws InvalidArgumentError for a key of another length
 */
export async function unwrapLayerOptions(packet: AnnotationPacket, key: Secret): Promise<Secret> {
  requireWrappingKey(key);
  const { kid, iv, wrapped_data: wrapped } = packet;
  const split = wrapped.length - tagSize;
  const opened = await aes256GcmOpen(key, iv, none, wrapped.subarray(0, split), wrapped.subarray(split));
  if (opened === undefined) throw new LayerKeyError(kid);
  return Secret.take(opened);
}

/** @throws InvalidArgumentError */
export function requireWrappingKey(key: Secret): void {
  if (key.length === wrappingKeySize) return;
  throw new InvalidArgumentError('wrapping key', `expected ${wrappingKeySize} bytes, found ${key.length}`, {
    hint: 'the key that an image is encrypted with is 32 random bytes, stored raw',
  });
}

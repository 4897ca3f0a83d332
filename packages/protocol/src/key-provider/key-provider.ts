import { type RandomSource, type Secret, UnavailableError } from '@vouchsafe/sev';
import type { ResourcePath } from '../rcar/resource-path.js';
import { annotationPacketBytes, parseAnnotationPacket } from './annotation-packet.js';
import { keyUnwrapAnswer, keyWrapAnswer, parseKeyProviderRequest } from './messages.js';
import { type KeyProviderParameters, parseKeyProviderParameters } from './parameters.js';
import { unwrapLayerOptions, wrapLayerOptions } from './wrapping.js';

/** Where a key provider has its keys from. Keys are copies, 32 bytes each, which the key provider zeroes. */
export interface LayerKeys {
  /**
   * The key that a packet names: usually `kbs:///repository/type/tag` ({@link parseKeyId}); keys that were injected at
   * launch can have any name. Absent where nothing is unwrapped.
   */
  keyToUnwrap?(keyId: string): Promise<Secret>;
  /**
   * The key to wrap with, and the id under which a guest will find it: when this resolves, it can be found there.
   * Absent where nothing is wrapped.
   */
  keyToWrap?(
    parameters: KeyProviderParameters,
  ): Promise<{ readonly keyId: ResourcePath; readonly key: Secret }>;
}

/** A key provider without its transport: the same JSON goes over gRPC, ttrpc and the pipes of a command. */
export interface KeyProvider {
  /**
   * Answers one request. `only` is what the transport's method stands for, where it has one.
   * @throws MalformedError for a request or a packet that cannot be read, InvalidArgumentError for parameters
   * @throws LayerKeyError for a packet that does not open; whatever {@link LayerKeys} throws
   * @throws UnavailableError when this provider does not do what is asked
   */
  answer(request: Uint8Array, only?: 'wrap' | 'unwrap'): Promise<Uint8Array>;
}

export interface KeyProviderOptions {
  /** Of the packets that are made: 1 or 2. Default 1. */
  readonly packetVersion?: 1 | 2;
  readonly random?: RandomSource;
}

/** A key provider over these keys. */
export function keyProvider(
  keys: LayerKeys,
  { packetVersion = 1, random }: KeyProviderOptions = {},
): KeyProvider {
  async function wrap(parameters: readonly string[], layerOptions: Secret): Promise<Uint8Array> {
    if (keys.keyToWrap === undefined) return refuse('wrap', 'it only opens images');
    const { keyId, key } = await keys.keyToWrap(parseKeyProviderParameters(parameters));
    try {
      const drawn = random === undefined ? {} : { random };
      const packet = await wrapLayerOptions({ key, keyId, layerOptions, version: packetVersion, ...drawn });
      return keyWrapAnswer(annotationPacketBytes(packet));
    } finally {
      key.zero();
    }
  }

  async function unwrap(annotation: Uint8Array): Promise<Uint8Array> {
    if (keys.keyToUnwrap === undefined) return refuse('unwrap', 'it only makes encrypted images');
    const packet = parseAnnotationPacket(annotation);
    const key = await keys.keyToUnwrap(packet.kid);
    try {
      const layerOptions = await unwrapLayerOptions(packet, key);
      try {
        return keyUnwrapAnswer(layerOptions);
      } finally {
        layerOptions.zero();
      }
    } finally {
      key.zero();
    }
  }

  return {
    async answer(json, only) {
      const request = parseKeyProviderRequest(json);
      if (only !== undefined && request.operation !== only)
        refuse(request.operation, `this method is for requests to ${only}`);
      if (request.operation === 'unwrap') return unwrap(request.annotation);
      return wrap(request.parameters, request.layerOptions).finally(() => request.layerOptions.zero());
    },
  };
}

function refuse(operation: 'wrap' | 'unwrap', reason: string): never {
  throw new UnavailableError('key provider', `it does not ${operation}: ${reason}`);
}

import { z } from 'zod';
import { bytesMember } from '../members.js';
import { message } from '../message.js';

/** Longest id of a key, in characters. */
const longestKeyId = 1024;
/** Longest wrapped data, in bytes: what a layer's private options can be, and room. */
const longestWrappedData = 64 * 1024;
const tagSize = 16;
const anObject = { error: 'expected an object' };

/**
 * What stands in an encrypted image for one layer: which key its private options are wrapped with, and how. Version 1 has
 * four members; version 2 (`0.1.0`) names a provider as well. Members that a reader does not know are passed over, as
 * Confidential Containers' readers do: nothing binds them.
 *
 * Only AES-256-GCM is read. Their agent also reads A256CTR, which lets whoever keeps the image change the options
 * unnoticed.
 */
export const annotationPacket = message(
  'annotation packet',
  z.object(
    {
      version: z.literal('0.1.0', { error: 'expected 0.1.0' }).exactOptional(),
      /** `kbs:///repository/type/tag`: {@link parseKeyId}. */
      kid: z
        .string({ error: 'expected a key id' })
        .min(1, { error: 'expected a key id' })
        .max(longestKeyId, { error: `expected at most ${longestKeyId} characters` }),
      /** Ciphertext, and the tag of 16 bytes behind it. */
      wrapped_data: bytesMember({ least: tagSize, greatest: longestWrappedData, multipleOf: 1 }),
      iv: bytesMember([12]),
      wrap_type: z.literal('A256GCM', { error: 'expected A256GCM, which proves that nobody changed it' }),
      /** Whose key it is; `kbs` when absent. */
      provider: z
        .literal('kbs', { error: 'expected kbs: keys of other services are not known here' })
        .exactOptional(),
      provider_settings: z.record(z.string(), z.unknown(), anObject).exactOptional(),
      annotations: z.record(z.string(), z.unknown(), anObject).exactOptional(),
    },
    anObject,
  ),
);
export type AnnotationPacket = ReturnType<typeof annotationPacket.parse>;

/** Reads the packet of an image: UTF-8 JSON. @throws MalformedError */
export function parseAnnotationPacket(bytes: Uint8Array): AnnotationPacket {
  return annotationPacket.parseBytes(bytes);
}

/** The packet as it goes into an image. */
export function annotationPacketBytes(packet: AnnotationPacket): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(annotationPacket.toJson(packet)));
}

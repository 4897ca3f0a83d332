import { MalformedError, openSecret, Secret, toBase64 } from '@vouchsafe/sev';
import { z } from 'zod';
import { bytesMember } from '../members.js';
import { message } from '../message.js';
import { imageDigestMember } from './manifest.js';

/** Lengths in bytes. */
export const layerKeySize = 32;
export const layerNonceSize = 16;

/** The one cipher of encrypted layers: AES-256 in counter mode, and an HMAC-SHA256 over the ciphertext. */
export const layerCipher = 'AES_256_CTR_HMAC_SHA256';

const anObject = { error: 'expected an object' };

/** What an encrypted layer says in the open. The host can change it: only the HMAC is taken from it. */
export const publicLayerOptions = message(
  'public options of a layer',
  z.object(
    {
      cipher: z.literal(layerCipher, { error: `expected ${layerCipher}` }),
      hmac: bytesMember([32]),
      /** What is in here would, for Go's library, replace the private options: it has to be empty. */
      cipheroptions: z
        .record(z.string(), z.never({ error: 'expected no options in the open' }), anObject)
        .nullish(),
    },
    anObject,
  ),
);
export type PublicLayerOptions = ReturnType<typeof publicLayerOptions.parse>;

/** What a key provider wraps: the layer's own key and the digest of its content. */
export interface PrivateLayerOptions {
  /** 32 bytes: for the cipher and for the HMAC. The caller zeroes it. */
  readonly key: Secret;
  /** 16 bytes: the first counter block. */
  readonly nonce: Uint8Array;
  /** Digest of the layer before it was encrypted. */
  readonly digest: string;
}

const privateOptions = message(
  'private options of a layer',
  z.object(
    {
      symkey: bytesMember([layerKeySize]),
      digest: imageDigestMember,
      cipheroptions: z.object({ nonce: bytesMember([layerNonceSize]) }, anObject),
    },
    anObject,
  ),
);

/** @throws MalformedError that shows nothing of them */
export function parsePrivateLayerOptions(options: Secret): PrivateLayerOptions {
  const { symkey, digest, cipheroptions } = privateOptions.parseBytes(openSecret(options));
  return { key: Secret.take(symkey), nonce: cipheroptions.nonce, digest };
}

/** As a key provider is given them. */
export function privateLayerOptionsText({ key, nonce, digest }: PrivateLayerOptions): Secret {
  const json = { symkey: openSecret(key), digest, cipheroptions: { nonce } };
  return Secret.take(new TextEncoder().encode(JSON.stringify(privateOptions.toJson(json))));
}

/** Reads the annotation with the public options: base64 of JSON. @throws MalformedError */
export function parsePublicLayerOptions(annotation: string): PublicLayerOptions {
  const decoded = bytesMember({ least: 1, greatest: 4096, multipleOf: 1 }).safeDecode(annotation);
  if (decoded.success) return publicLayerOptions.parseBytes(decoded.data);
  throw new MalformedError({
    structure: publicLayerOptions.name,
    field: '/',
    offset: 0,
    expected: 'base64 of at most 4096 bytes',
    found: 'something else',
  });
}

/** The annotation with the public options. */
export function publicLayerOptionsText(hmac: Uint8Array): string {
  const json = publicLayerOptions.toJson({ cipher: layerCipher, hmac, cipheroptions: {} });
  return toBase64(new TextEncoder().encode(JSON.stringify(json)));
}

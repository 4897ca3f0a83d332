import {
  aes256GcmOpen,
  aes256GcmSeal,
  InvalidArgumentError,
  MalformedError,
  openSecret,
  type RandomSource,
  Secret,
  systemRandom,
} from '@vouchsafe/sev';
import { z } from 'zod';
import { message } from '../message.js';
import { base64UrlText, fromBase64Url, toBase64Url } from './base64url.js';
import { decryptContentKey, encryptContentKey } from './content-key.js';
import { type JweHeader, jweHeader } from './jwe-header.js';
import type { TeeKey, TeeKeyPair } from './tee-key.js';

/** Bytes of a secret that fits an answer. */
export const largestSealedSecret = 1024 * 1024;
const contentKeySize = 32;
const ivSize = 12;
const tagSize = 16;

/** The longest member of an answer is a key wrapped by RSA of 4096 bits, or the header with a point on P-521. */
const largestPart = 1024;

/**
 * What a broker answers with: a JSON Web Encryption in flattened form (RFC 7516 section 7.2.2), without additional data
 * of its own.
 */
export const flattenedJwe = message(
  'sealed secret',
  z.object(
    {
      protected: base64UrlText(1, largestPart),
      encrypted_key: base64UrlText(1, largestPart),
      iv: base64UrlText(ivSize),
      ciphertext: base64UrlText(0, largestSealedSecret),
      tag: base64UrlText(tagSize),
    },
    { error: 'expected an object' },
  ),
);
export type FlattenedJwe = ReturnType<typeof flattenedJwe.parse>;

export interface SealOptions {
  /** Draws the content key (32 bytes) and the IV (12). */
  readonly random?: RandomSource;
  /** The sender's half of the key agreement, for known answers; otherwise a new key. */
  readonly ephemeralKey?: TeeKeyPair;
}

/**
 * Encrypts a secret so that only the guest with this key can read it: ECDH-ES+A256KW or RSA-OAEP-256, and A256GCM (RFC
 * 7518). Trustee's clients write the header again before they check it, so its members stand in the one order that
 * survives this: `alg`, `enc`, then the others by name, likewise inside `epk`.
 * @throws InvalidArgumentError for a key that is off its curve, and for more than {@link largestSealedSecret} bytes
 */
export async function sealToTeeKey(
  secret: Secret,
  key: TeeKey,
  { random = systemRandom, ephemeralKey }: SealOptions = {},
): Promise<FlattenedJwe> {
  if (secret.length > largestSealedSecret)
    throw new InvalidArgumentError('secret', `it has more than ${largestSealedSecret} bytes`);
  const contentKey = Secret.take(random(contentKeySize));
  try {
    const { header, encryptedKey } = await encryptContentKey(contentKey, key, ephemeralKey);
    const protectedHeader = toBase64Url(new TextEncoder().encode(JSON.stringify(header)));
    const iv = random(ivSize);
    const { ciphertext, tag } = await aes256GcmSeal(
      contentKey,
      iv,
      ascii(protectedHeader),
      openSecret(secret),
    );
    return {
      protected: protectedHeader,
      encrypted_key: toBase64Url(encryptedKey),
      iv: toBase64Url(iv),
      ciphertext: toBase64Url(ciphertext),
      tag: toBase64Url(tag),
    };
  } finally {
    contentKey.zero();
  }
}

/**
 * The guest's side: decrypts an answer. Only the algorithm of the guest's own key is accepted, and no header member
 * besides `alg`, `enc` and `epk`.
 * @throws MalformedError for another header, and for an answer that was changed or encrypted to another key; which of the
 * two it does not say
 */
export async function openFlattenedJwe(jwe: FlattenedJwe, key: TeeKeyPair): Promise<Secret> {
  const { protected: protectedHeader, encrypted_key, iv, ciphertext, tag } = flattenedJwe.parse(jwe);
  const header = jweHeader.parseBytes(fromBase64Url(protectedHeader));
  if (header.alg !== key.publicKey.alg) refuse('/protected/alg', key.publicKey.alg, 'another algorithm');
  const contentKey = await contentKeyIn(header, fromBase64Url(encrypted_key), key);
  if (contentKey?.length !== contentKeySize) return refuseToOpen();
  const opened = await aes256GcmOpen(
    contentKey,
    fromBase64Url(iv),
    ascii(protectedHeader),
    fromBase64Url(ciphertext),
    fromBase64Url(tag),
  ).finally(() => contentKey.zero());
  return opened === undefined ? refuseToOpen() : Secret.take(opened);
}

async function contentKeyIn(
  header: JweHeader,
  encryptedKey: Uint8Array,
  key: TeeKeyPair,
): Promise<Secret | undefined> {
  try {
    return await decryptContentKey(header, encryptedKey, key);
  } catch (error) {
    // A point that is off the curve: the guest does not say so, as of the rest.
    if (error instanceof InvalidArgumentError) return undefined;
    throw error;
  }
}

/** The additional data is the ASCII of the header as it travels (RFC 7516 section 5.1, step 14). */
function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Which step failed helps nobody but an attacker. */
function refuseToOpen(): never {
  return refuse('/ciphertext', 'a secret that was sealed to this key', 'one that does not open');
}

function refuse(field: string, expected: string, found: string): never {
  throw new MalformedError({ structure: flattenedJwe.name, field, offset: 0, expected, found });
}

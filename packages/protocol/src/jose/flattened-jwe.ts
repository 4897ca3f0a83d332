import {
  concat,
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
import { jweHeader } from './jwe-header.js';
import type { TeeKey, TeeKeyPair } from './tee-key.js';

const { subtle } = globalThis.crypto;

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
  /** The sender's half of the key agreement, for known answers; otherwise a new key of the platform. */
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
    const iv = new Uint8Array(random(ivSize));
    const protectedHeader = toBase64Url(new TextEncoder().encode(JSON.stringify(header)));
    const cipher = await subtle.importKey('raw', copyOf(openSecret(contentKey)), 'AES-GCM', false, [
      'encrypt',
    ]);
    const plain = copyOf(openSecret(secret));
    const sealed = new Uint8Array(await subtle.encrypt(gcm(iv, protectedHeader), cipher, plain));
    plain.fill(0);
    return {
      protected: protectedHeader,
      encrypted_key: toBase64Url(encryptedKey),
      iv: toBase64Url(iv),
      ciphertext: toBase64Url(sealed.subarray(0, -tagSize)),
      tag: toBase64Url(sealed.subarray(-tagSize)),
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
  const header = jweHeader.parseText(new TextDecoder().decode(fromBase64Url(protectedHeader)));
  if (header.alg !== key.publicKey.alg) refuse('/protected/alg', key.publicKey.alg, 'another algorithm');
  try {
    const contentKey = await decryptContentKey(header, fromBase64Url(encrypted_key), key);
    const sealed = concat(fromBase64Url(ciphertext), fromBase64Url(tag));
    const opened = await subtle.decrypt(gcm(fromBase64Url(iv), protectedHeader), contentKey, copyOf(sealed));
    return Secret.take(new Uint8Array(opened));
  } catch {
    // The cause is left out: which step failed helps nobody but an attacker.
    return refuse('/ciphertext', 'a secret that was sealed to this key', 'one that does not open');
  }
}

/** The additional data is the ASCII of the header as it travels (RFC 7516 section 5.1, step 14). */
function gcm(iv: Uint8Array, protectedHeader: string) {
  return {
    name: 'AES-GCM',
    iv: copyOf(iv),
    additionalData: new TextEncoder().encode(protectedHeader),
    tagLength: 8 * tagSize,
  };
}

/** WebCrypto's types refuse memory that could be shared between threads; a copy never is. */
function copyOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}

function refuse(field: string, expected: string, found: string): never {
  throw new MalformedError({ structure: flattenedJwe.name, field, offset: 0, expected, found });
}

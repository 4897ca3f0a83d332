import { createCipheriv, createDecipheriv } from 'node:crypto';
import { concat, openSecret, type RandomSource, Secret } from '@vouchsafe/sev';

/**
 * XAES-256-GCM (C2SP, version of 2024): AES-256-GCM with nonces of 24 bytes, long enough to be drawn at random for any
 * number of messages under one key. The first 12 bytes derive the key of a message from the long-term one.
 */

const nonceLength = 24;
const tagLength = 16;
/** Bytes that sealing adds: a nonce before the ciphertext and a tag after it. */
export const sealOverhead = nonceLength + tagLength;

/**
 * Encrypts `plaintext` and binds it to `context`: nonce (24 bytes) ‖ ciphertext ‖ tag (16 bytes).
 * @param key 32 bytes
 */
export function seal(
  key: Secret,
  context: Uint8Array,
  plaintext: Uint8Array,
  random: RandomSource,
): Uint8Array {
  const nonce = random(nonceLength);
  const messageKey = deriveKey(key, nonce);
  try {
    const cipher = createCipheriv('aes-256-gcm', openSecret(messageKey), nonce.subarray(12));
    cipher.setAAD(context);
    return concat(nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
  } finally {
    messageKey.zero();
  }
}

/** What {@link seal} sealed under this key in this context; undefined for anything else. */
export function unseal(key: Secret, context: Uint8Array, sealed: Uint8Array): Secret | undefined {
  if (sealed.length < sealOverhead) return undefined;
  const nonce = sealed.subarray(0, nonceLength);
  const messageKey = deriveKey(key, nonce);
  try {
    const options = { authTagLength: tagLength };
    const cipher = createDecipheriv('aes-256-gcm', openSecret(messageKey), nonce.subarray(12), options);
    cipher.setAAD(context);
    cipher.setAuthTag(sealed.subarray(-tagLength));
    const plaintext = cipher.update(sealed.subarray(nonceLength, -tagLength));
    try {
      cipher.final();
    } catch {
      plaintext.fill(0);
      return undefined;
    }
    return Secret.take(plaintext);
  } finally {
    messageKey.zero();
  }
}

/** CMAC over two single blocks, counter first, with the first half of the nonce (NIST SP 800-108 by C2SP's reading). */
function deriveKey(key: Secret, nonce: Uint8Array): Secret {
  const cipher = createCipheriv('aes-256-ecb', openSecret(key), null).setAutoPadding(false);
  const subkey = doubled(cipher.update(new Uint8Array(16)));
  const block = (counter: number) =>
    concat(Uint8Array.of(0, counter, 0x58, 0), nonce.subarray(0, 12)).map((byte, i) => byte ^ subkey[i]!);
  const derived = concat(cipher.update(block(1)), cipher.update(block(2)));
  return Secret.take(derived);
}

/** Multiplies by x in GF(2^128), as CMAC's first subkey wants it. */
function doubled(block: Uint8Array): Uint8Array {
  const shifted = block.map((byte, i) => (byte << 1) | ((block[i + 1] ?? 0) >> 7));
  shifted[15]! ^= (block[0]! >> 7) * 0x87;
  return Uint8Array.from(shifted);
}

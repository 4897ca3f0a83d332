import { concat, u32le } from '../bytes.js';
import { hmacSha256, type KeyBytes } from '../crypto/index.js';
import { Secret } from '../secret.js';

const keyLength = 16;

/**
 * The key derivation of the secure channel (SEV API 0.24, chapter 4): NIST SP 800-108 in counter mode with HMAC-SHA-256.
 * One block is enough for 16 bytes: `HMAC(key, u32 1 ‖ label ‖ 0x00 ‖ context ‖ u32 128)`, integers little-endian.
 * @param label ASCII, without a NUL
 * @returns 16 bytes
 */
export async function deriveKey(
  key: KeyBytes,
  label: string,
  context: Uint8Array = new Uint8Array(),
): Promise<Secret> {
  const separator = Uint8Array.of(0);
  const input = concat(u32le(1), new TextEncoder().encode(label), separator, context, u32le(8 * keyLength));
  const block = await hmacSha256(key, input);
  const derived = Secret.copyOf(block.subarray(0, keyLength));
  block.fill(0);
  return derived;
}

/** KEK encrypts the transport keys, KIK authenticates them; 16 bytes each. */
export interface WrappingKeys {
  readonly kek: Secret;
  readonly kik: Secret;
}

/**
 * The two keys that wrap a channel's transport keys.
 * @param sharedSecret x coordinate of the ECDH of GODH and PDH, 48 bytes big-endian
 * @param nonce 16 bytes of the session buffer
 */
export async function deriveWrappingKeys(sharedSecret: KeyBytes, nonce: Uint8Array): Promise<WrappingKeys> {
  const master = await deriveMasterSecret(sharedSecret, nonce);
  const kek = await deriveKey(master, 'sev-kek');
  const kik = await deriveKey(master, 'sev-kik');
  master.zero();
  return { kek, kik };
}

/** The master secret of a channel, 16 bytes. */
export function deriveMasterSecret(sharedSecret: KeyBytes, nonce: Uint8Array): Promise<Secret> {
  return deriveKey(sharedSecret, 'sev-master-secret', nonce);
}

import { InvalidArgumentError, openSecret, type Secret } from '@vouchsafe/sev';
import type { JweHeader } from './jwe-header.js';
import { agreeOnKeyEncryptionKey } from './key-agreement.js';
import { generateTeeKey, importTeeKey, type PlatformKey, type TeeKey, type TeeKeyPair } from './tee-key.js';

const { subtle } = globalThis.crypto;
const enc = 'A256GCM';

/**
 * Encrypts a content key to a guest's key, and gives the header that says how.
 * @throws InvalidArgumentError for a key that is off its curve, and for an ephemeral key on another curve
 */
export async function encryptContentKey(
  contentKey: Secret,
  key: TeeKey,
  ephemeralKey?: TeeKeyPair,
): Promise<{ header: JweHeader; encryptedKey: Uint8Array }> {
  const plain = new Uint8Array(openSecret(contentKey));
  try {
    if (key.kty === 'RSA') {
      const encrypted = await subtle.encrypt({ name: 'RSA-OAEP' }, await importTeeKey(key), plain);
      return { header: { alg: key.alg, enc }, encryptedKey: new Uint8Array(encrypted) };
    }
    const { crv } = key;
    const own =
      ephemeralKey ?? (await generateTeeKey(crv === 'P-256' ? 'ECDH-ES+A256KW-P256' : 'ECDH-ES+A256KW-P521'));
    const { publicKey } = own;
    if (publicKey.kty !== 'EC' || publicKey.crv !== crv)
      throw new InvalidArgumentError('ephemeral key', `expected a key on ${crv}`);
    const wrapping = await agreeOnKeyEncryptionKey(own.privateKey, key);
    const wrapped = await subtle.wrapKey(
      'raw',
      await subtle.importKey('raw', plain, 'AES-GCM', true, ['encrypt']),
      wrapping,
      'AES-KW',
    );
    const epk = { crv, kty: key.kty, x: publicKey.x, y: publicKey.y };
    return { header: { alg: key.alg, enc, epk }, encryptedKey: new Uint8Array(wrapped) };
  } finally {
    plain.fill(0);
  }
}

/**
 * The guest's side of {@link encryptContentKey}: the content key, for decrypting only.
 * @throws whatever stands in the way; callers do not tell what
 */
export async function decryptContentKey(
  header: JweHeader,
  encryptedKey: Uint8Array,
  { privateKey }: TeeKeyPair,
): Promise<PlatformKey> {
  const encrypted = new Uint8Array(encryptedKey);
  if (header.alg === 'RSA-OAEP-256') {
    const plain = new Uint8Array(await subtle.decrypt({ name: 'RSA-OAEP' }, privateKey, encrypted));
    const wrongSize = plain.length !== 32;
    const imported = await subtle
      .importKey('raw', plain, 'AES-GCM', false, ['decrypt'])
      .finally(() => plain.fill(0));
    if (wrongSize) throw new InvalidArgumentError('content key', 'expected 32 bytes');
    return imported;
  }
  const unwrapping = await agreeOnKeyEncryptionKey(privateKey, { alg: header.alg, ...header.epk });
  const parameters = { name: 'AES-GCM', length: 256 };
  return subtle.unwrapKey('raw', encrypted, unwrapping, 'AES-KW', parameters, false, ['decrypt']);
}

import {
  aes256Unwrap,
  aes256Wrap,
  agree,
  concat,
  digest,
  generateAgreementKey,
  InvalidArgumentError,
  openSecret,
  rsaOaepDecrypt,
  rsaOaepEncrypt,
  Secret,
} from '@vouchsafe/sev';
import { fromBase64Url } from './base64url.js';
import type { JweHeader } from './jwe-header.js';
import {
  agreementKeyOf,
  type EllipticTeeKey,
  type RsaTeeKey,
  type TeeKey,
  type TeeKeyPair,
  teeKeyPairOf,
} from './tee-key.js';

const enc = 'A256GCM';
const keyAgreement = 'ECDH-ES+A256KW';
const wrappingKeyBits = 256;

/**
 * Encrypts a content key of 32 bytes to a guest's key, and gives the header that says how.
 * @throws InvalidArgumentError for a key that is off its curve, and for an ephemeral key on another curve
 */
export async function encryptContentKey(
  contentKey: Secret,
  key: TeeKey,
  ephemeralKey?: TeeKeyPair,
): Promise<{ header: JweHeader; encryptedKey: Uint8Array }> {
  if (key.kty === 'RSA') {
    const encryptedKey = await rsaOaepEncrypt(modulusOf(key), contentKey);
    return { header: { alg: key.alg, enc }, encryptedKey };
  }
  const own = ephemeralKey ?? teeKeyPairOf(await generateAgreementKey(key.crv));
  const { publicKey } = own;
  if (publicKey.kty !== 'EC' || publicKey.crv !== key.crv)
    throw new InvalidArgumentError('ephemeral key', `expected a key on ${key.crv}`);
  const { crv, kty, x, y } = publicKey;
  try {
    const wrappingKey = await agreeOnWrappingKey(publicKey, own.privateKey, key);
    const encryptedKey = await aes256Wrap(wrappingKey, contentKey).finally(() => wrappingKey.zero());
    return { header: { alg: key.alg, enc, epk: { crv, kty, x, y } }, encryptedKey };
  } finally {
    if (ephemeralKey === undefined) own.privateKey.zero();
  }
}

/**
 * The guest's side of {@link encryptContentKey}; undefined for a content key that was encrypted to another key, or
 * changed.
 * @throws InvalidArgumentError for an ephemeral key that is off the curve of the guest's key
 */
export async function decryptContentKey(
  header: JweHeader,
  encryptedKey: Uint8Array,
  { publicKey, privateKey }: TeeKeyPair,
): Promise<Secret | undefined> {
  if (publicKey.kty === 'RSA')
    return rsaOaepDecrypt({ publicKey: modulusOf(publicKey), privateKey }, encryptedKey);
  if (header.alg !== keyAgreement) return undefined;
  const wrappingKey = await agreeOnWrappingKey(publicKey, privateKey, header.epk);
  return aes256Unwrap(wrappingKey, encryptedKey).finally(() => wrappingKey.zero());
}

const modulusOf = ({ n, e }: RsaTeeKey) => ({ modulus: fromBase64Url(n), exponent: fromBase64Url(e) });

/**
 * ECDH, then one round of the Concat KDF with SHA-256 and empty party information (RFC 7518 section 4.6, NIST SP 800-56A
 * section 5.8.1).
 */
async function agreeOnWrappingKey(
  own: EllipticTeeKey,
  privateKey: Secret,
  peer: Pick<EllipticTeeKey, 'crv' | 'x' | 'y'>,
): Promise<Secret> {
  const shared = await agree({ publicKey: agreementKeyOf(own), scalar: privateKey }, agreementKeyOf(peer));
  const name = new TextEncoder().encode(keyAgreement);
  const otherInfo = concat(u32(name.length), name, u32(0), u32(0), u32(wrappingKeyBits));
  const key = await digest('sha256', u32(1), openSecret(shared), otherInfo).finally(() => shared.zero());
  return Secret.take(key);
}

/** Big-endian. */
function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

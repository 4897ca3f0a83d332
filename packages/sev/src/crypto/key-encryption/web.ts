import { InvalidArgumentError } from '../../errors.js';
import { openSecret, Secret } from '../../secret.js';
import { base64url, rsaJwk } from '../jwk.js';
import type { KeyBytes } from '../types.js';
import { type AgreementPublicKey, agreementSizes, type KeyEncryptionPort } from './types.js';

const { subtle } = globalThis.crypto;
const oaep = { name: 'RSA-OAEP', hash: 'SHA-256' } as const;
const exponent65537 = Uint8Array.of(1, 0, 1);

/** WebCrypto's types refuse memory that could be shared between threads; a copy never is. */
const own = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes);
const bytesOf = (key: KeyBytes): Uint8Array<ArrayBuffer> =>
  own(key instanceof Secret ? openSecret(key) : key);

const ecdh = ({ curve }: AgreementPublicKey) => ({ name: 'ECDH', namedCurve: curve });
const pointJwk = ({ curve, x, y }: AgreementPublicKey) => ({
  kty: 'EC',
  crv: curve,
  x: base64url(x),
  y: base64url(y),
});

const port: KeyEncryptionPort = {
  async isOnCurve(point) {
    const size = agreementSizes[point.curve];
    if (point.x.length !== size || point.y.length !== size) return false;
    return subtle.importKey('jwk', pointJwk(point), ecdh(point), false, []).then(
      () => true,
      () => false,
    );
  },

  async generateAgreementKey(curve) {
    const pair = await subtle.generateKey({ name: 'ECDH', namedCurve: curve }, true, ['deriveBits']);
    const jwk = await subtle.exportKey('jwk', pair.privateKey);
    return {
      publicKey: { curve, x: fromBase64url(jwk.x), y: fromBase64url(jwk.y) },
      scalar: Secret.take(fromBase64url(jwk.d)),
    };
  },

  async agree({ publicKey, scalar }, peer) {
    const refuse = (cause?: unknown) =>
      new InvalidArgumentError('peer key', `is not a point on ${publicKey.curve}`, { cause });
    const size = agreementSizes[peer.curve];
    if (peer.curve !== publicKey.curve || peer.x.length !== size || peer.y.length !== size) throw refuse();
    const point = await subtle
      .importKey('jwk', pointJwk(peer), ecdh(peer), false, [])
      .catch((cause: unknown) => Promise.reject(refuse(cause)));
    const jwk = { ...pointJwk(publicKey), d: base64url(openSecret(scalar)) };
    const key = await subtle.importKey('jwk', jwk, ecdh(publicKey), false, ['deriveBits']);
    const bits = await subtle.deriveBits({ name: 'ECDH', public: point }, key, 8 * size);
    return Secret.take(new Uint8Array(bits));
  },

  async aes256Wrap(key, content) {
    const wrapping = await subtle.importKey('raw', bytesOf(key), 'AES-KW', false, ['wrapKey']);
    // The content is wrapped as a key of HMAC, because such a key may have any length.
    const hmac = { name: 'HMAC', hash: 'SHA-256' };
    const wrapped = await subtle.importKey('raw', bytesOf(content), hmac, true, ['sign']);
    return new Uint8Array(await subtle.wrapKey('raw', wrapped, wrapping, 'AES-KW'));
  },

  async aes256Unwrap(key, wrapped) {
    if (wrapped.length !== 40) return undefined;
    const unwrapping = await subtle.importKey('raw', bytesOf(key), 'AES-KW', false, ['unwrapKey']);
    const hmac = { name: 'HMAC', hash: 'SHA-256' };
    try {
      const content = await subtle.unwrapKey('raw', own(wrapped), unwrapping, 'AES-KW', hmac, true, ['sign']);
      return Secret.take(new Uint8Array(await subtle.exportKey('raw', content)));
    } catch {
      return undefined;
    }
  },

  async generateRsaKey() {
    const parameters = { ...oaep, modulusLength: 2048, publicExponent: exponent65537 };
    const pair = await subtle.generateKey(parameters, true, ['encrypt', 'decrypt']);
    const { n, e } = await subtle.exportKey('jwk', pair.publicKey);
    return {
      publicKey: { modulus: fromBase64url(n), exponent: fromBase64url(e) },
      privateKey: Secret.take(new Uint8Array(await subtle.exportKey('pkcs8', pair.privateKey))),
    };
  },

  async rsaOaepEncrypt(key, content) {
    try {
      const object = await subtle.importKey('jwk', rsaJwk(key), oaep, false, ['encrypt']);
      return new Uint8Array(await subtle.encrypt({ name: 'RSA-OAEP' }, object, bytesOf(content)));
    } catch (cause) {
      throw new InvalidArgumentError('RSA key', 'nothing can be encrypted to it', { cause });
    }
  },

  async rsaOaepDecrypt({ privateKey }, encrypted) {
    const object = await subtle.importKey('pkcs8', bytesOf(privateKey), oaep, false, ['decrypt']);
    return subtle.decrypt({ name: 'RSA-OAEP' }, object, own(encrypted)).then(
      (content) => Secret.take(new Uint8Array(content)),
      () => undefined,
    );
  },
};

function fromBase64url(text: string | undefined): Uint8Array {
  const binary = atob((text ?? '').replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from({ length: binary.length }, (_, i) => binary.charCodeAt(i));
}

export const {
  generateAgreementKey,
  isOnCurve,
  agree,
  aes256Wrap,
  aes256Unwrap,
  generateRsaKey,
  rsaOaepEncrypt,
  rsaOaepDecrypt,
} = port;

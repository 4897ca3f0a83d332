import {
  constants,
  createCipheriv,
  createDecipheriv,
  createECDH,
  createPrivateKey,
  createPublicKey,
  ECDH,
  generateKeyPair,
  privateDecrypt,
  publicEncrypt,
} from 'node:crypto';
import { promisify } from 'node:util';
import { concat } from '../../bytes.js';
import { InvalidArgumentError } from '../../errors.js';
import { openSecret, Secret } from '../../secret.js';
import { rsaJwk } from '../jwk.js';
import type { KeyBytes } from '../types.js';
import { type AgreementCurve, agreementSizes, type KeyEncryptionPort } from './types.js';

const bytesOf = (key: KeyBytes): Uint8Array => (key instanceof Secret ? openSecret(key) : key);
const opensslNames = { 'P-256': 'prime256v1', 'P-521': 'secp521r1' } as const;
const wrapCipher = 'id-aes256-wrap';
const wrapIv = new Uint8Array(8).fill(0xa6);
const oaep = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' } as const;

/** A secret of `size` bytes, as OpenSSL leaves out leading zeros. */
function padded(bytes: Uint8Array, size: number): Secret {
  const whole = new Uint8Array(size);
  whole.set(bytes, size - bytes.length);
  bytes.fill(0);
  return Secret.take(whole);
}

/** Key objects would be checked and converted on every use: three times the cost. */
const pairOn = (curve: AgreementCurve) => createECDH(opensslNames[curve]);

const uncompressed = (x: Uint8Array, y: Uint8Array) => concat(Uint8Array.of(4), x, y);

const port: KeyEncryptionPort = {
  async isOnCurve({ curve, x, y }) {
    if (x.length !== agreementSizes[curve] || y.length !== x.length) return false;
    try {
      ECDH.convertKey(uncompressed(x, y), opensslNames[curve]);
      return true;
    } catch {
      return false;
    }
  },

  async generateAgreementKey(curve) {
    const size = agreementSizes[curve];
    const pair = pairOn(curve);
    const point = pair.generateKeys();
    return {
      publicKey: {
        curve,
        x: new Uint8Array(point.subarray(1, 1 + size)),
        y: new Uint8Array(point.subarray(1 + size)),
      },
      scalar: padded(pair.getPrivateKey(), size),
    };
  },

  async agree(own, peer) {
    const { curve, x, y } = peer;
    const size = agreementSizes[curve];
    if (curve !== own.publicKey.curve || x.length !== size || y.length !== size)
      throw new InvalidArgumentError('peer key', `is not a point on ${own.publicKey.curve}`);
    const pair = pairOn(curve);
    pair.setPrivateKey(openSecret(own.scalar));
    try {
      return padded(pair.computeSecret(uncompressed(x, y)), size);
    } catch (cause) {
      throw new InvalidArgumentError('peer key', `is not a point on ${curve}`, { cause });
    }
  },

  async aes256Wrap(key, content) {
    const cipher = createCipheriv(wrapCipher, bytesOf(key), wrapIv);
    return concat(cipher.update(bytesOf(content)), cipher.final());
  },

  async aes256Unwrap(key, wrapped) {
    if (wrapped.length !== 40) return undefined;
    const decipher = createDecipheriv(wrapCipher, bytesOf(key), wrapIv);
    try {
      const content = decipher.update(wrapped);
      decipher.final();
      return Secret.take(content);
    } catch {
      return undefined;
    }
  },

  async generateRsaKey() {
    const pair = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
    const { n = '', e = '' } = pair.publicKey.export({ format: 'jwk' });
    const field = (text: string) => new Uint8Array(Buffer.from(text, 'base64url'));
    return {
      publicKey: { modulus: field(n), exponent: field(e) },
      privateKey: Secret.take(pair.privateKey.export({ format: 'der', type: 'pkcs8' })),
    };
  },

  async rsaOaepEncrypt(key, content) {
    try {
      const object = createPublicKey({ key: rsaJwk(key), format: 'jwk' });
      return new Uint8Array(publicEncrypt({ key: object, ...oaep }, bytesOf(content)));
    } catch (cause) {
      throw new InvalidArgumentError('RSA key', 'nothing can be encrypted to it', { cause });
    }
  },

  async rsaOaepDecrypt({ privateKey }, encrypted) {
    const der = Buffer.from(openSecret(privateKey));
    const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
    der.fill(0);
    try {
      return Secret.take(privateDecrypt({ key, ...oaep }, encrypted));
    } catch {
      return undefined;
    }
  },
};

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

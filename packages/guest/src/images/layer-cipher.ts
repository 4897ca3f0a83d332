import { createCipheriv, createDecipheriv, createHash, createHmac, type Hash, type Hmac } from 'node:crypto';
import { openSecret, type Secret } from '@vouchsafe/sev';

/** What was computed over a layer from its first byte to its last. */
export interface LayerSums {
  /** HMAC-SHA256 over the ciphertext, 32 bytes. */
  readonly hmac: Uint8Array;
  /** `sha256:…` of the layer as it is outside the encryption, gzip and all. */
  readonly plainDigest: string;
  /** `sha256:…` of the ciphertext. */
  readonly encryptedDigest: string;
  /** In bytes; encrypting changes it not. */
  readonly size: number;
}

export interface LayerCipher {
  /** The next piece, encrypted or decrypted. What is decrypted is genuine only once {@link LayerCipher.finish} says so. */
  update(piece: Uint8Array): Uint8Array;
  /** To be called once, after the last piece. */
  finish(): LayerSums;
}

/**
 * AES_256_CTR_HMAC_SHA256 of containers/ocicrypt: AES-256 in counter mode, beginning with `nonce` as the counter block,
 * and an HMAC-SHA256 over the ciphertext under the same key.
 * @param key 32 bytes
 * @param nonce 16 bytes; never twice with one key
 */
export function layerEncryption(key: Secret, nonce: Uint8Array): LayerCipher {
  const cipher = createCipheriv('aes-256-ctr', openSecret(key), nonce);
  return running(key, (piece, sums) => {
    const encrypted = cipher.update(piece);
    sums.add(piece, encrypted);
    return encrypted;
  });
}

/** The reverse of {@link layerEncryption}. */
export function layerDecryption(key: Secret, nonce: Uint8Array): LayerCipher {
  const cipher = createDecipheriv('aes-256-ctr', openSecret(key), nonce);
  return running(key, (piece, sums) => {
    const plain = cipher.update(piece);
    sums.add(plain, piece);
    return plain;
  });
}

function running(key: Secret, work: (piece: Uint8Array, sums: Sums) => Uint8Array): LayerCipher {
  const sums = new Sums(key);
  return { update: (piece) => work(piece, sums), finish: () => sums.finish() };
}

class Sums {
  readonly #plain: Hash = createHash('sha256');
  readonly #encrypted: Hash = createHash('sha256');
  readonly #hmac: Hmac;
  #size = 0;

  constructor(key: Secret) {
    this.#hmac = createHmac('sha256', openSecret(key));
  }

  add(plain: Uint8Array, encrypted: Uint8Array): void {
    this.#plain.update(plain);
    this.#encrypted.update(encrypted);
    this.#hmac.update(encrypted);
    this.#size += plain.length;
  }

  finish(): LayerSums {
    return {
      hmac: new Uint8Array(this.#hmac.digest()),
      plainDigest: `sha256:${this.#plain.digest('hex')}`,
      encryptedDigest: `sha256:${this.#encrypted.digest('hex')}`,
      size: this.#size,
    };
  }
}

import type { Secret } from '../../secret.js';
import type { KeyBytes, RsaPublicKey } from '../types.js';

/**
 * Cryptography that carries a key to whoever holds another: agreement on P-256 and P-521, key wrap, RSA-OAEP. Like
 * `CryptoPort` it has a form for node:crypto and one for WebCrypto.
 */

/** Bytes of a coordinate and of a scalar, by curve. */
export const agreementSizes = { 'P-256': 32, 'P-521': 66 } as const;
export type AgreementCurve = keyof typeof agreementSizes;

/** A point: affine coordinates, big-endian, as long as the curve says. */
export interface AgreementPublicKey {
  readonly curve: AgreementCurve;
  readonly x: Uint8Array;
  readonly y: Uint8Array;
}

export interface AgreementKey {
  readonly publicKey: AgreementPublicKey;
  /** Big-endian, as long as the curve says. */
  readonly scalar: Secret;
}

export interface RsaKey {
  readonly publicKey: RsaPublicKey;
  /** PKCS #8 in DER. */
  readonly privateKey: Secret;
}

export interface KeyEncryptionPort {
  isOnCurve(point: AgreementPublicKey): Promise<boolean>;
  generateAgreementKey(curve: AgreementCurve): Promise<AgreementKey>;
  /**
   * The shared x coordinate, as long as the curve says.
   * @throws InvalidArgumentError when the peer's point is not on the key's curve
   */
  agree(own: AgreementKey, peer: AgreementPublicKey): Promise<Secret>;
  /** RFC 3394 with a key of 32 bytes: 8 bytes more than the content. @param content a multiple of 8 bytes, 16 at least */
  aes256Wrap(key: KeyBytes, content: KeyBytes): Promise<Uint8Array>;
  /** The content of 32 bytes; undefined when it was wrapped under another key, or changed. */
  aes256Unwrap(key: KeyBytes, wrapped: Uint8Array): Promise<Secret | undefined>;
  /** 2048 bits, exponent 65537. */
  generateRsaKey(): Promise<RsaKey>;
  /**
   * RSAES-OAEP with SHA-256 for hash and MGF1, and an empty label.
   * @throws InvalidArgumentError for a modulus that no key has
   */
  rsaOaepEncrypt(key: RsaPublicKey, content: KeyBytes): Promise<Uint8Array>;
  /** The content; undefined when it was encrypted to another key, or changed. */
  rsaOaepDecrypt(key: RsaKey, encrypted: Uint8Array): Promise<Secret | undefined>;
}

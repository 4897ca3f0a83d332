import type { Secret } from '../secret.js';

/**
 * What this package needs of a platform's cryptography. `node.ts` answers with node:crypto, `web.ts` with WebCrypto;
 * the package's `imports` field picks one, so nothing here decides at run time.
 */
export type HashName = 'sha256' | 'sha384';

/** A point on P-384: affine coordinates, 48 bytes each, big-endian. */
export interface P384PublicKey {
  readonly x: Uint8Array;
  readonly y: Uint8Array;
}

/** A private scalar of P-384 (48 bytes, big-endian) with its public point. */
export interface P384PrivateKey {
  readonly publicKey: P384PublicKey;
  readonly scalar: Secret;
}

/** An RSA public key: modulus and exponent, big-endian, without leading zeros required or refused. */
export interface RsaPublicKey {
  readonly modulus: Uint8Array;
  readonly exponent: Uint8Array;
}

/** An ECDSA P-384 signature: 48 bytes each, big-endian. */
export interface EcdsaSignature {
  readonly r: Uint8Array;
  readonly s: Uint8Array;
}

/** What an authenticated cipher makes: as many bytes as the plaintext had, and a tag of 16. */
export interface AuthenticatedCiphertext {
  readonly ciphertext: Uint8Array;
  readonly tag: Uint8Array;
}

/** Gives `length` unpredictable bytes. An argument wherever bytes are drawn, so that tests have known answers. */
export type RandomSource = (length: number) => Uint8Array;

export type KeyBytes = Secret | Uint8Array;

/** A digest that is not finished: what follows can be tried without hashing again what came before. */
export interface RunningDigest {
  /** Continues with `part`; the bytes must not change until the digest is taken. */
  update(part: Uint8Array): void;
  /** An independent one that has got as far. */
  copy(): RunningDigest;
  /** The digest so far; going on after it is allowed on a copy only. */
  digest(): Promise<Uint8Array>;
}

export interface CryptoPort {
  digest(hash: HashName, ...parts: readonly Uint8Array[]): Promise<Uint8Array>;
  /** The digest of each block of `blockSize` bytes, one after the other; `data` holds whole blocks. */
  digestBlocks(hash: HashName, data: Uint8Array, blockSize: number): Promise<Uint8Array>;
  /**
   * Takes the links of `linkSize` bytes in turn: the state, which is `start` at first, becomes the digest of
   * state ‖ link. `start` is as long as a digest, `links` holds whole links.
   */
  digestChain(hash: HashName, start: Uint8Array, links: Uint8Array, linkSize: number): Promise<Uint8Array>;
  /** WebCrypto has no such thing: there, parts are kept, and every `digest` hashes them all. */
  startDigest(hash: HashName): RunningDigest;
  hmacSha256(key: KeyBytes, ...parts: readonly Uint8Array[]): Promise<Uint8Array>;
  hmacSha384(key: KeyBytes, ...parts: readonly Uint8Array[]): Promise<Uint8Array>;
  /** AES-256 in Galois/counter mode: `iv` 12 bytes, which no key may see twice; tag 16 bytes. */
  aes256GcmSeal(
    key: KeyBytes,
    iv: Uint8Array,
    additionalData: Uint8Array,
    plaintext: Uint8Array,
  ): Promise<AuthenticatedCiphertext>;
  /** The plaintext; undefined when the tag does not fit. */
  aes256GcmOpen(
    key: KeyBytes,
    iv: Uint8Array,
    additionalData: Uint8Array,
    ciphertext: Uint8Array,
    tag: Uint8Array,
  ): Promise<Uint8Array | undefined>;
  /** AES-128 in counter mode; the whole 16 bytes of `iv` are the initial counter block, incremented big-endian. */
  aes128Ctr(key: KeyBytes, iv: Uint8Array, data: Uint8Array): Promise<Uint8Array>;
  generateP384(): Promise<P384PrivateKey>;
  isOnP384(key: P384PublicKey): Promise<boolean>;
  /**
   * The shared x coordinate, 48 bytes big-endian.
   * @throws InvalidArgumentError when the peer's point is not on the curve
   */
  ecdhP384(own: P384PrivateKey, peer: P384PublicKey): Promise<Secret>;
  signP384(key: P384PrivateKey, hash: HashName, data: Uint8Array): Promise<EcdsaSignature>;
  /** False for a wrong signature and for a key that is not on the curve. */
  verifyP384(
    key: P384PublicKey,
    hash: HashName,
    data: Uint8Array,
    signature: EcdsaSignature,
  ): Promise<boolean>;
  /** RSASSA-PSS, MGF1 with the same hash, salt as long as the digest; `signature` big-endian, as long as the modulus. */
  verifyRsaPss(key: RsaPublicKey, hash: HashName, data: Uint8Array, signature: Uint8Array): Promise<boolean>;
  /** Compares without telling by its duration where the difference is. Different lengths are unequal. */
  constantTimeEqual(a: Uint8Array, b: Uint8Array): boolean;
  systemRandom: RandomSource;
}

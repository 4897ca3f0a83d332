import {
  constants,
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPair,
  type Hash,
  hash as hashAtOnce,
  type KeyObject,
  randomBytes,
  sign,
  timingSafeEqual,
  type VerifyKeyObjectInput,
  verify,
} from 'node:crypto';
import { promisify } from 'node:util';
import { concat, equalBytes } from '../bytes.js';
import { InvalidArgumentError } from '../errors.js';
import { openSecret, Secret } from '../secret.js';
import { base64url, p384Jwk, rsaJwk } from './jwk.js';
import type {
  CryptoPort,
  KeyBytes,
  P384PrivateKey,
  P384PublicKey,
  RsaPublicKey,
  RunningDigest,
} from './types.js';

const digestLength = { sha256: 32, sha384: 48 } as const;
const bytesOf = (key: KeyBytes): Uint8Array => (key instanceof Secret ? openSecret(key) : key);
const plain = (bytes: Uint8Array): Uint8Array =>
  new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/**
 * Importing a key costs a third of a verification, so each is imported once. Its bytes stay beside it: bytes that were
 * changed in place after that make another key.
 */
const imported = new WeakMap<
  P384PublicKey | RsaPublicKey,
  { readonly parts: readonly Uint8Array[]; readonly object: KeyObject }
>();

function publicKey(key: P384PublicKey | RsaPublicKey): KeyObject {
  const isRsa = 'modulus' in key;
  const parts = isRsa ? [key.modulus, key.exponent] : [key.x, key.y];
  const known = imported.get(key);
  if (known?.parts.every((part, i) => equalBytes(part, parts[i]!))) return known.object;
  const object = createPublicKey({ key: isRsa ? rsaJwk(key) : p384Jwk(key), format: 'jwk' });
  imported.set(key, { parts: parts.map((part) => part.slice()), object });
  return object;
}

function privateKey(key: P384PrivateKey): KeyObject {
  const jwk = { ...p384Jwk(key.publicKey), d: base64url(openSecret(key.scalar)) };
  return createPrivateKey({ key: jwk, format: 'jwk' });
}

function tryPublicKey(key: P384PublicKey | RsaPublicKey): KeyObject | undefined {
  try {
    return publicKey(key);
  } catch {
    return undefined;
  }
}

interface Verification {
  readonly hash: string;
  readonly data: Uint8Array;
  readonly key: VerifyKeyObjectInput;
  readonly signature: Uint8Array;
  resolve(valid: boolean): void;
  reject(error: Error): void;
}

/** Asked for since the event loop last came by. */
const waiting: Verification[] = [];
let inThreads = 0;

/**
 * A signature that nobody waits beside is verified here and now: another thread would take longer to wake than it would
 * save. Several that are asked for at once go to OpenSSL's thread pool, and use several cores.
 */
function verifySignature(
  hash: string,
  data: Uint8Array,
  key: VerifyKeyObjectInput,
  signature: Uint8Array,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    if (waiting.length === 0) queueMicrotask(verifyWaiting);
    // A copy, as the caller may change its bytes before their turn comes.
    waiting.push({ hash, data: data.slice(), key, signature: signature.slice(), resolve, reject });
  });
}

function verifyWaiting(): void {
  const batch = waiting.splice(0);
  const isAlone = batch.length === 1 && inThreads === 0;
  for (const each of batch) (isAlone ? verifyHere : verifyInThread)(each);
}

function verifyHere({ hash, data, key, signature, resolve, reject }: Verification): void {
  try {
    resolve(verify(hash, data, key, signature));
  } catch (error) {
    reject(error as Error);
  }
}

function verifyInThread({ hash, data, key, signature, resolve, reject }: Verification): void {
  inThreads++;
  verify(hash, data, key, signature, (error, valid) => {
    inThreads--;
    if (error === null) resolve(valid);
    else reject(error);
  });
}

function runningDigest(state: Hash): RunningDigest {
  return {
    update: (part) => void state.update(part),
    copy: () => runningDigest(state.copy()),
    digest: async () => plain(state.digest()),
  };
}

const port: CryptoPort = {
  async digest(hash, ...parts) {
    const state = createHash(hash);
    for (const part of parts) state.update(part);
    return plain(state.digest());
  },

  async digestBlocks(hash, data, blockSize) {
    const size = digestLength[hash];
    const digests = new Uint8Array((data.length / blockSize) * size);
    for (let at = 0, to = 0; at < data.length; at += blockSize, to += size) {
      digests.set(hashAtOnce(hash, data.subarray(at, at + blockSize), 'buffer'), to);
    }
    return digests;
  },

  async digestChain(hash, start, links, linkSize) {
    const size = digestLength[hash];
    const block = new Uint8Array(size + linkSize);
    block.set(start);
    for (let at = 0; at < links.length; at += linkSize) {
      // Faster than `set` with a part of the links, which would be made for it.
      for (let i = 0; i < linkSize; i++) block[size + i] = links[at + i]!;
      block.set(hashAtOnce(hash, block, 'buffer'));
    }
    return block.slice(0, size);
  },

  startDigest: (hash) => runningDigest(createHash(hash)),

  async hmacSha256(key, ...parts) {
    const state = createHmac('sha256', bytesOf(key));
    for (const part of parts) state.update(part);
    return plain(state.digest());
  },

  async hmacSha384(key, ...parts) {
    const state = createHmac('sha384', bytesOf(key));
    for (const part of parts) state.update(part);
    return plain(state.digest());
  },

  async aes256GcmSeal(key, iv, additionalData, plaintext) {
    const cipher = createCipheriv('aes-256-gcm', bytesOf(key), iv).setAAD(additionalData);
    const ciphertext = new Uint8Array(plain(cipher.update(plaintext)));
    cipher.final();
    return { ciphertext, tag: new Uint8Array(plain(cipher.getAuthTag())) };
  },

  async aes256GcmOpen(key, iv, additionalData, ciphertext, tag) {
    const options = { authTagLength: 16 };
    const cipher = createDecipheriv('aes-256-gcm', bytesOf(key), iv, options).setAAD(additionalData);
    const opened = plain(cipher.setAuthTag(tag).update(ciphertext));
    try {
      cipher.final();
      return new Uint8Array(opened);
    } catch {
      return undefined;
    } finally {
      opened.fill(0);
    }
  },

  async aes128Ctr(key, iv, data) {
    const cipher = createCipheriv('aes-128-ctr', bytesOf(key), iv);
    return plain(cipher.update(data));
  },

  async generateP384() {
    const pair = await promisify(generateKeyPair)('ec', { namedCurve: 'P-384' });
    const jwk = pair.privateKey.export({ format: 'jwk' });
    const field = (text: string | undefined) => plain(Buffer.from(text ?? '', 'base64url'));
    return {
      publicKey: { x: new Uint8Array(field(jwk.x)), y: new Uint8Array(field(jwk.y)) },
      scalar: Secret.take(field(jwk.d)),
    };
  },

  async isOnP384(key) {
    return tryPublicKey(key) !== undefined;
  },

  async ecdhP384(own, peer) {
    const point = tryPublicKey(peer);
    if (point === undefined) throw new InvalidArgumentError('peer key', 'is not a point on P-384');
    const shared = diffieHellman({ privateKey: privateKey(own), publicKey: point });
    return Secret.take(plain(shared));
  },

  async signP384(key, hash, data) {
    const signature = plain(sign(hash, data, { key: privateKey(key), dsaEncoding: 'ieee-p1363' }));
    return { r: signature.slice(0, 48), s: signature.slice(48) };
  },

  async verifyP384(key, hash, data, signature) {
    const object = tryPublicKey(key);
    if (object === undefined) return false;
    return verifySignature(
      hash,
      data,
      { key: object, dsaEncoding: 'ieee-p1363' },
      concat(signature.r, signature.s),
    );
  },

  async verifyRsaPss(key, hash, data, signature) {
    const object = tryPublicKey(key);
    // The type asks for this: OpenSSL 3.0 takes any modulus here, and verifies nothing with a bad one.
    if (object === undefined) return false;
    const parameters = {
      key: object,
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
    };
    return verifySignature(hash, data, parameters, signature);
  },

  constantTimeEqual(a, b) {
    return a.length === b.length && timingSafeEqual(a, b);
  },

  systemRandom: (length) => plain(randomBytes(length)),
};

export const {
  digest,
  digestBlocks,
  digestChain,
  startDigest,
  hmacSha256,
  hmacSha384,
  aes256GcmSeal,
  aes256GcmOpen,
  aes128Ctr,
  generateP384,
  isOnP384,
  ecdhP384,
  signP384,
  verifyP384,
  verifyRsaPss,
  constantTimeEqual,
  systemRandom,
} = port;

import { concat } from '../bytes.js';
import { InvalidArgumentError } from '../errors.js';
import { openSecret, Secret } from '../secret.js';
import { base64url, p384Jwk, rsaJwk } from './jwk.js';
import type { CryptoPort, HashName, KeyBytes, P384PublicKey, RsaPublicKey, RunningDigest } from './types.js';

const subtle = globalThis.crypto.subtle;
const webHash = { sha256: 'SHA-256', sha384: 'SHA-384' } as const;
const digestLength = { sha256: 32, sha384: 48 } as const;
const p384 = (name: 'ECDSA' | 'ECDH') => ({ name, namedCurve: 'P-384' });

/** WebCrypto's types refuse memory that could be shared between threads; a copy never is. */
const own = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes);
const bytesOf = (key: KeyBytes): Uint8Array<ArrayBuffer> =>
  own(key instanceof Secret ? openSecret(key) : key);

const imported = new WeakMap<P384PublicKey | RsaPublicKey, Map<string, Promise<CryptoKey | undefined>>>();

/**
 * Imports each key once for each use; undefined where the platform refuses it, as for a point off the curve. The key's
 * text is part of the use: bytes that were changed in place after the import make another key.
 */
function publicKey(
  key: P384PublicKey | RsaPublicKey,
  algorithm: { name: string; namedCurve?: string; hash?: string },
): Promise<CryptoKey | undefined> {
  const uses = imported.get(key) ?? new Map<string, Promise<CryptoKey | undefined>>();
  imported.set(key, uses);
  const jwk = 'modulus' in key ? rsaJwk(key) : p384Jwk(key);
  const use = `${algorithm.name} ${algorithm.hash ?? ''} ${JSON.stringify(jwk)}`;
  let found = uses.get(use);
  if (found === undefined) {
    const usages: KeyUsage[] = algorithm.name === 'ECDH' ? [] : ['verify'];
    found = subtle.importKey('jwk', jwk, algorithm, true, usages).catch(() => undefined);
    uses.set(use, found);
  }
  return found;
}

/** Digests asked for at once: enough to keep the browser's threads busy, few enough to hold their copies. */
const inFlight = 64;

function runningDigest(hash: HashName, parts: Uint8Array[]): RunningDigest {
  return {
    update: (part) => void parts.push(part),
    copy: () => runningDigest(hash, [...parts]),
    digest: () => port.digest(hash, ...parts),
  };
}

async function hmac(hash: HashName, key: KeyBytes, parts: readonly Uint8Array[]): Promise<Uint8Array> {
  const algorithm = { name: 'HMAC', hash: webHash[hash] };
  const object = await subtle.importKey('raw', bytesOf(key), algorithm, false, ['sign']);
  return new Uint8Array(await subtle.sign('HMAC', object, own(concat(...parts))));
}

const port: CryptoPort = {
  async digest(hash, ...parts) {
    return new Uint8Array(await subtle.digest(webHash[hash], own(concat(...parts))));
  },

  async digestBlocks(hash, data, blockSize) {
    const digests = new Uint8Array((data.length / blockSize) * digestLength[hash]);
    for (let at = 0; at < data.length; at += inFlight * blockSize) {
      const batch: Promise<Uint8Array>[] = [];
      for (let block = at; block < Math.min(at + inFlight * blockSize, data.length); block += blockSize) {
        batch.push(port.digest(hash, data.subarray(block, block + blockSize)));
      }
      digests.set(concat(...(await Promise.all(batch))), (at / blockSize) * digestLength[hash]);
    }
    return digests;
  },

  async digestChain(hash, start, links, linkSize) {
    let state: Uint8Array = start.slice();
    for (let at = 0; at < links.length; at += linkSize) {
      state = await port.digest(hash, state, links.subarray(at, at + linkSize));
    }
    return state;
  },

  startDigest: (hash) => runningDigest(hash, []),

  hmacSha256: (key, ...parts) => hmac('sha256', key, parts),

  hmacSha384: (key, ...parts) => hmac('sha384', key, parts),

  async aes256GcmSeal(key, iv, additionalData, plaintext) {
    const object = await subtle.importKey('raw', bytesOf(key), 'AES-GCM', false, ['encrypt']);
    const parameters = { name: 'AES-GCM', iv: own(iv), additionalData: own(additionalData) };
    const whole = new Uint8Array(await subtle.encrypt(parameters, object, own(plaintext)));
    return { ciphertext: whole.slice(0, plaintext.length), tag: whole.slice(plaintext.length) };
  },

  async aes256GcmOpen(key, iv, additionalData, ciphertext, tag) {
    const object = await subtle.importKey('raw', bytesOf(key), 'AES-GCM', false, ['decrypt']);
    const parameters = { name: 'AES-GCM', iv: own(iv), additionalData: own(additionalData) };
    return subtle.decrypt(parameters, object, own(concat(ciphertext, tag))).then(
      (plaintext) => new Uint8Array(plaintext),
      () => undefined,
    );
  },

  async aes128Ctr(key, iv, data) {
    const object = await subtle.importKey('raw', bytesOf(key), 'AES-CTR', false, ['encrypt']);
    return new Uint8Array(
      await subtle.encrypt({ name: 'AES-CTR', counter: own(iv), length: 128 }, object, own(data)),
    );
  },

  async generateP384() {
    const pair = await subtle.generateKey(p384('ECDSA'), true, ['sign']);
    const jwk = await subtle.exportKey('jwk', pair.privateKey);
    return {
      publicKey: { x: fromBase64url(jwk.x), y: fromBase64url(jwk.y) },
      scalar: Secret.take(fromBase64url(jwk.d)),
    };
  },

  async isOnP384(key) {
    return (await publicKey(key, p384('ECDSA'))) !== undefined;
  },

  async ecdhP384(ownKey, peer) {
    const jwk = { ...p384Jwk(ownKey.publicKey), d: base64url(openSecret(ownKey.scalar)) };
    const secret = await subtle.importKey('jwk', jwk, p384('ECDH'), false, ['deriveBits']);
    const point = await publicKey(peer, p384('ECDH'));
    if (point === undefined) throw new InvalidArgumentError('peer key', 'is not a point on P-384');
    return Secret.take(new Uint8Array(await subtle.deriveBits({ name: 'ECDH', public: point }, secret, 384)));
  },

  async signP384(key, hash, data) {
    const jwk = { ...p384Jwk(key.publicKey), d: base64url(openSecret(key.scalar)) };
    const object = await subtle.importKey('jwk', jwk, p384('ECDSA'), false, ['sign']);
    const signature = new Uint8Array(
      await subtle.sign({ name: 'ECDSA', hash: webHash[hash] }, object, own(data)),
    );
    return { r: signature.slice(0, 48), s: signature.slice(48) };
  },

  async verifyP384(key, hash, data, signature) {
    const object = await publicKey(key, p384('ECDSA'));
    if (object === undefined) return false;
    return subtle.verify(
      { name: 'ECDSA', hash: webHash[hash] },
      object,
      own(concat(signature.r, signature.s)),
      own(data),
    );
  },

  async verifyRsaPss(key: RsaPublicKey, hash: HashName, data, signature) {
    const object = await publicKey(key, { name: 'RSA-PSS', hash: webHash[hash] });
    // The type asks for this: without a key, verify() would fail and come to the same below.
    if (object === undefined) return false;
    const parameters = { name: 'RSA-PSS', saltLength: digestLength[hash] };
    // Some keys that no one can have made, such as a modulus of zero, are found out only here.
    return subtle.verify(parameters, object, own(signature), own(data)).catch(() => false);
  },

  constantTimeEqual(a, b) {
    if (a.length !== b.length) return false;
    let difference = 0;
    for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!;
    return difference === 0;
  },

  systemRandom(length) {
    const bytes = new Uint8Array(length);
    const limit = 65536; // of getRandomValues
    for (let at = 0; at < length; at += limit)
      globalThis.crypto.getRandomValues(bytes.subarray(at, at + limit));
    return bytes;
  },
};

function fromBase64url(text: string | undefined): Uint8Array {
  const binary = atob((text ?? '').replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from({ length: binary.length }, (_, i) => binary.charCodeAt(i));
}

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

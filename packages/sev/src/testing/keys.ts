import { createECDH } from 'node:crypto';
import type { P384PrivateKey, RandomSource } from '../crypto/index.js';
import { Secret } from '../secret.js';

/** The key pair of a private scalar (48 bytes, big-endian), as known answers give it. */
export function p384KeyOfScalar(scalar: Uint8Array): P384PrivateKey {
  const curve = createECDH('secp384r1');
  curve.setPrivateKey(scalar);
  const point = new Uint8Array(curve.getPublicKey());
  const publicKey = { x: point.slice(1, 49), y: point.slice(49) };
  return { publicKey, scalar: Secret.copyOf(scalar) };
}

/** Bytes that never repeat within one source: each call counts on. Not random at all. */
export function countingRandom(): RandomSource {
  let next = 0;
  return (length) => Uint8Array.from({ length }, () => next++ & 0xff);
}

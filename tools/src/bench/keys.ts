import { createPublicKey, type KeyObject } from 'node:crypto';
import type { P384PublicKey, RsaPublicKey } from '@vouchsafe/sev';

const base64url = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');

/** A key as node:crypto wants it, imported once: the raw side of a benchmark does not pay for it. */
export function keyObject(key: P384PublicKey | RsaPublicKey): KeyObject {
  if ('x' in key) {
    const jwk = { kty: 'EC', crv: 'P-384', x: base64url(key.x), y: base64url(key.y) };
    return createPublicKey({ key: jwk, format: 'jwk' });
  }
  const exponent = key.exponent.subarray(key.exponent.findIndex((byte) => byte !== 0));
  return createPublicKey({
    key: { kty: 'RSA', n: base64url(key.modulus), e: base64url(exponent) },
    format: 'jwk',
  });
}

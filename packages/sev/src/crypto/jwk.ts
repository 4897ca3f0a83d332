import { toBase64 } from '../bytes.js';
import type { P384PublicKey, RsaPublicKey } from './types.js';

/** The base64url of RFC 7515, without padding, that JSON Web Keys use. */
export function base64url(bytes: Uint8Array): string {
  return toBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}

export function p384Jwk(key: P384PublicKey) {
  return { kty: 'EC', crv: 'P-384', x: base64url(key.x), y: base64url(key.y) };
}

export function rsaJwk(key: RsaPublicKey) {
  return { kty: 'RSA', n: base64url(key.modulus), e: base64url(withoutLeadingZeros(key.exponent)) };
}

function withoutLeadingZeros(bytes: Uint8Array): Uint8Array {
  const first = bytes.findIndex((byte) => byte !== 0);
  return first < 0 ? bytes.subarray(-1) : bytes.subarray(first);
}

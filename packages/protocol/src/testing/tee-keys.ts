import type { TeeKeyPair } from '../jose/tee-key.js';
import { teeKey } from '../jose/tee-key.js';

/** A vector of `kbs/jwe`. */
export interface JweVector {
  readonly tee_private_jwk: JsonWebKey;
  readonly 'tee-pubkey': Record<string, string>;
  readonly nonce: string;
  readonly additional_evidence: string;
  readonly runtime_data_canonical: string;
  readonly runtime_data_sha384_hex: string;
  readonly snp_report_data_hex: string;
  readonly cek_hex: string;
  readonly ephemeral_private_jwk?: JsonWebKey;
  readonly kek_hex?: string;
  readonly plaintext_base64: string;
  readonly protected_header_json: string;
  readonly response: Record<'protected' | 'encrypted_key' | 'iv' | 'ciphertext' | 'tag', string>;
}

/** A pair from a private JWK, which tests have because it was published. */
export async function teeKeyPairOf(jwk: JsonWebKey): Promise<TeeKeyPair> {
  const { subtle } = globalThis.crypto;
  const { kty, crv, x, y, n, e } = jwk;
  if (kty === 'RSA') {
    const publicKey = teeKey.parse({ kty, alg: 'RSA-OAEP-256', n, e });
    const algorithm = { name: 'RSA-OAEP', hash: 'SHA-256' };
    return { publicKey, privateKey: await subtle.importKey('jwk', jwk, algorithm, false, ['decrypt']) };
  }
  const publicKey = teeKey.parse({ kty, crv, alg: 'ECDH-ES+A256KW', x, y });
  const algorithm = { name: 'ECDH', namedCurve: String(crv) };
  return { publicKey, privateKey: await subtle.importKey('jwk', jwk, algorithm, false, ['deriveBits']) };
}

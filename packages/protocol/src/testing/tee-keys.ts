import { Secret } from '@vouchsafe/sev';
import { fromBase64Url } from '../jose/base64url.js';
import { type TeeKeyPair, teeKey } from '../jose/tee-key.js';

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
export async function teeKeyPairOfJwk(jwk: JsonWebKey): Promise<TeeKeyPair> {
  const { kty, crv, x, y, n, e, d = '' } = jwk;
  if (kty === 'EC') {
    const publicKey = teeKey.parse({ kty, crv, alg: 'ECDH-ES+A256KW', x, y });
    return { publicKey, privateKey: Secret.take(fromBase64Url(d)) };
  }
  const { subtle } = globalThis.crypto;
  const key = await subtle.importKey('jwk', jwk, { name: 'RSA-OAEP', hash: 'SHA-256' }, true, ['decrypt']);
  return {
    publicKey: teeKey.parse({ kty, alg: 'RSA-OAEP-256', n, e }),
    privateKey: Secret.take(new Uint8Array(await subtle.exportKey('pkcs8', key))),
  };
}

import { exportJWK, generateKeyPair, type JWK } from 'jose';
import type { ReferenceIssuer } from './signed-document.js';

/** A new Ed25519 key for an issuer of reference values: its private JWK, and what a broker has to trust. */
export async function generateIssuerKey(
  name: string,
): Promise<{ readonly privateKey: JWK; readonly issuer: ReferenceIssuer }> {
  const pair = await generateKeyPair('EdDSA', { crv: 'Ed25519', extractable: true });
  return {
    privateKey: await exportJWK(pair.privateKey),
    issuer: issuerOf(name, await exportJWK(pair.publicKey)),
  };
}

/** The public half of an issuer's key, under its name. */
export function issuerOf(name: string, { kty, crv, x, y }: JWK): ReferenceIssuer {
  const key = { kty, crv, x, ...(y === undefined ? {} : { y }) } as JWK;
  return { name, keys: [key] };
}

import { createHash, createPrivateKey, createPublicKey } from 'node:crypto';
import { flattenedJwe, parseSnpEvidence, parseStrictJson, sealToTeeKey, teeKey } from '@vouchsafe/protocol';
import { Secret } from '@vouchsafe/sev';
import { flattenedDecrypt } from 'jose';
import { expect, it } from 'vitest';
import { describeWithVectors, jsonVector, vectors } from '../../../../sev/src/testing/vectors.js';
import { canonical } from './canonical.js';
import { CookieStore } from './cookie-store.js';
import { trusteeEvidence } from './snp-evidence.js';
import { makeTrusteeKey, openResponse, trusteeKeyOf } from './tee-key.js';

interface JweVector {
  readonly tee_private_jwk: JsonWebKey;
  readonly 'tee-pubkey': Record<string, string>;
  readonly nonce: string;
  readonly runtime_data_canonical: string;
  readonly runtime_data_sha384_hex: string;
  readonly plaintext_base64: string;
  readonly response: Record<string, string>;
}

describeWithVectors('the peer that speaks as Trustee’s client', () => {
  it.each(['p256', 'p521', 'rsa-oaep-256'])('agrees with kbs/jwe/%s.json', (name) => {
    const vector = jsonVector<JweVector>(`kbs/jwe/${name}.json`);
    const jwk = vector.tee_private_jwk as Record<string, string>;
    const privateKey = createPrivateKey({ key: jwk, format: 'jwk' });
    const key = trusteeKeyOf(createPublicKey(privateKey), privateKey);
    expect(key.publicJwk).toEqual(vector['tee-pubkey']);
    const bound = canonical({
      nonce: vector.nonce,
      'tee-pubkey': key.publicJwk,
      'additional-evidence': '',
    });
    expect(bound).toBe(vector.runtime_data_canonical);
    expect(createHash('sha384').update(bound).digest('hex')).toBe(vector.runtime_data_sha384_hex);
    expect(Buffer.from(openResponse(vector.response, key)).toString('base64')).toBe(vector.plaintext_base64);
  });

  it('cannot open what has its header in another order', () => {
    const vector = jsonVector<JweVector>('kbs/jwe/rsa-oaep-256.json');
    const jwk = vector.tee_private_jwk as Record<string, string>;
    const privateKey = createPrivateKey({ key: jwk, format: 'jwk' });
    const key = trusteeKeyOf(createPublicKey(privateKey), privateKey);
    const other = Buffer.from('{"enc":"A256GCM","alg":"RSA-OAEP-256"}').toString('base64url');
    // What stands in the message does not matter to it, which is the trap: it authenticates what it would have written.
    expect(() => openResponse({ ...vector.response, protected: other }, key)).not.toThrow();
    const more = Buffer.from('{"alg":"RSA-OAEP-256","enc":"A256GCM","kid":"1"}').toString('base64url');
    expect(() => openResponse({ ...vector.response, protected: more }, key)).toThrow();
  });

  it('writes evidence as Trustee’s own sample is written', () => {
    const text = new TextDecoder().decode(vectors('kbs/snp/evidence-genoa-vcek.json'));
    const { report, certificates } = parseSnpEvidence(parseStrictJson('evidence', text));
    const written = trusteeEvidence(report, [{ type: 'VCEK', der: certificates[0]!.bytes }]);
    expect(written.replace(',"launch_mit_vector":null,"current_mit_vector":null', '')).toBe(text.trim());
  });

  it.each(['milan-v2-idblock', 'milan-v3-oak', 'genoa-v5-siena', 'turin-v5-azure'])(
    'and the report %s so that it is read back',
    (name) => {
      const report = vectors(`snp/reports/${name}.bin`);
      const read = parseSnpEvidence(parseStrictJson('evidence', trusteeEvidence(report, [])));
      expect(read).toEqual({ report, certificates: [] });
    },
  );
});

it('the peer keeps a cookie for the paths of the protocol, until it expires', () => {
  let now = 0;
  const cookies = new CookieStore(() => now);
  const at = (path: string) => new URL(`http://127.0.0.1:8080${path}`);
  cookies.store(at('/kbs/v0/auth'), ['kbs-session-id=1; Expires=Thu, 01 Jan 1970 00:05:00 GMT']);
  expect(cookies.header(at('/kbs/v0/attest'))).toBe('kbs-session-id=1');
  expect(cookies.header(at('/kbs/v0/resource/a/b/c'))).toBe('kbs-session-id=1');
  expect(cookies.header(at('/kbs/v01'))).toBeUndefined();
  expect(cookies.header(at('/metrics'))).toBeUndefined();
  expect(cookies.header(new URL('http://localhost:8080/kbs/v0/attest'))).toBeUndefined();
  cookies.store(at('/kbs/v0/attest'), ['kbs-session-id=2; Expires=Thu, 01 Jan 1970 00:05:00 GMT']);
  expect(cookies.header(at('/kbs/v0/attest'))).toBe('kbs-session-id=2');
  now = 300_000;
  expect(cookies.header(at('/kbs/v0/attest'))).toBeUndefined();
});

it.each([
  ['ECDH-ES+A256KW-P256', 'P-256'],
  ['ECDH-ES+A256KW-P521', 'P-521'],
  ['RSA-OAEP-256', undefined],
] as const)('what a broker seals to %s opens for the peer, and with jose', async (kind, curve) => {
  const key = makeTrusteeKey(kind);
  const guestKey = teeKey.parse({ ...key.publicJwk, use: 'enc' });
  for (const text of ['', 'a secret', 'é'.repeat(5000)]) {
    const secret = Secret.take(new TextEncoder().encode(text));
    const sealed = await sealToTeeKey(secret, guestKey);
    const sent: unknown = JSON.parse(JSON.stringify(flattenedJwe.toJson(sealed)));
    expect(Buffer.from(openResponse(sent, key)).toString()).toBe(text);
    const { plaintext, protectedHeader } = await flattenedDecrypt(sealed, key.privateKey);
    const { epk } = protectedHeader as { epk?: { crv: string } };
    expect(new TextDecoder().decode(plaintext)).toBe(text);
    expect(epk?.crv).toBe(curve);
  }
});

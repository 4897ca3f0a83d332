import { createPrivateKey, generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto';
import { expect, it } from 'vitest';
import { describeWithVectors, jsonVector, vectors } from '../../../../sev/src/testing/vectors.js';
import { believe, endorsedKey, type Jwk, teeKeyIn } from './relying-party.js';

const text = (name: string) => new TextDecoder().decode(vectors(name));
const certificate = (name: string) => new X509Certificate(vectors(name));
const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const signed = (header: object, claims: object, key: KeyObject) => {
  const body = `${part(header)}.${part(claims)}`;
  const signature = sign('sha256', Buffer.from(body), { key, dsaEncoding: 'ieee-p1363' });
  return `${body}.${signature.toString('base64url')}`;
};

describeWithVectors('keys in a token’s header, kbs/token-jwk', () => {
  it.each([
    ['scenario01', 'accepted'],
    ['scenario02', 'the leaf has another key than the JWK'],
    ['scenario03', 'no x5c'],
    ['scenario05', 'accepted'],
  ])('%s: %s', (name, outcome) => {
    const jwk = jsonVector<Jwk>(`kbs/token-jwk/${name}-jwk.json`);
    const anchor = certificate(`kbs/token-jwk/${name}-trust.pem`);
    const judge = () => endorsedKey(jwk, [anchor]);
    if (outcome === 'accepted') expect(judge()).toBe(jwk);
    else expect(judge).toThrow(outcome);
  });

  it('lead to the anchor that is trusted, and to no other', () => {
    const jwk = jsonVector<Jwk>('kbs/token-jwk/scenario05-jwk.json');
    const stranger = certificate('kbs/token-jwk/scenario01-trust.pem');
    expect(() => endorsedKey(jwk, [stranger])).toThrow('no anchor');
    expect(() => endorsedKey(jwk, [])).toThrow('no anchor');
    const anchor = certificate('kbs/token-jwk/scenario05-trust.pem');
    expect(() => endorsedKey({ ...jwk, x5c: jwk.x5c!.slice(0, 1) }, [anchor])).toThrow('no anchor');
  });
});

describeWithVectors('an attestation service’s keys, kbs/as-jwks', () => {
  const key = () => createPrivateKey(text('kbs/as-jwks/signing-key.pem'));
  const set = () => jsonVector<{ keys: Jwk[] }>('kbs/as-jwks/expected-jwks.json');
  const now = () => 1_000_000;

  it('are published with their certificates', () => {
    const [jwk] = set().keys as [Jwk];
    expect(endorsedKey(jwk, [certificate('kbs/as-jwks/cert-chain.pem')])).toBe(jwk);
  });

  it('sign tokens that are believed, by name or by certificate', () => {
    const [jwk] = set().keys as [Jwk];
    const claims = jsonVector<Record<string, unknown>>('kbs/token/ear-claims-sgx.json');
    const good = { ...claims, exp: 1001 };
    const named = { keys: [{ ...jwk, kid: 'one' }] };
    const byName = signed({ alg: 'ES256', kid: 'one' }, good, key());
    expect(believe(byName, { trustedKeys: [named], now })).toEqual(good);
    const inHeader = signed({ alg: 'ES256', jwk }, good, key());
    const trustedCertificates = [certificate('kbs/as-jwks/cert-chain.pem')];
    expect(believe(inHeader, { trustedCertificates, now })).toEqual(good);
    expect(teeKeyIn(good)).toBeUndefined();

    const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const cases: [string, Parameters<typeof believe>[1], string][] = [
      [byName, { now }, 'no trusted key of that name'],
      [inHeader, { now }, 'no anchor'],
      [byName, { trustedKeys: [{ keys: [{ ...jwk, kid: 'one', alg: 'RS256' }] }], now }, 'alg ES256'],
      [byName, { trustedKeys: [named], now: () => 1_002_000 }, 'expired'],
      [
        signed({ alg: 'ES256', kid: 'one' }, { ...good, nbf: 2000 }, key()),
        { trustedKeys: [named], now },
        'not valid yet',
      ],
      [
        signed({ alg: 'ES256', kid: 'one' }, good, stranger.privateKey),
        { trustedKeys: [named], now },
        'not of that key',
      ],
      [`${part({ alg: 'none', kid: 'one' })}.${part(good)}.`, { trustedKeys: [named], now }, 'alg none'],
    ];
    for (const [token, party, message] of cases) expect(() => believe(token, party)).toThrow(message);
  });
});

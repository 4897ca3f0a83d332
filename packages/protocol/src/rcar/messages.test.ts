import { fromHex, MalformedError, toHex } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { describeWithVectors, jsonVector } from '../../../sev/src/testing/vectors.js';
import { teeKey, teeKeyThumbprint } from '../jose/tee-key.js';
import type { Message } from '../message.js';
import type { JweVector } from '../testing/tee-keys.js';
import { rcarError, rcarErrorOf, rcarErrorVariant } from './errors.js';
import { rcarAttestation, rcarChallenge, rcarRequest, rcarResourcePath, rcarToken } from './messages.js';
import { canonicalRuntimeData, reportDataOf, requireSha384 } from './runtime-data.js';
import { teeNamed } from './tee-names.js';

const key = {
  kty: 'EC',
  crv: 'P-256',
  alg: 'ECDH-ES+A256KW',
  x: 'BdV3SBLyyX8M3Mg0dU374dzVOXUEkFwdL3JFZkdwQTg',
  y: 'HpXbgzUJ9JTv4jOhAnjdavb2wPt-zCa1nAPkXdHAEgw',
};
const nonce = '562PYhDm6GoMpLYjR9AZLXmCyIYxd7D/PyHAxCn1osY=';
const attestation = {
  'init-data': { format: 'toml', body: 'version = "0.1.0"' },
  'runtime-data': { nonce, 'tee-pubkey': key },
  'tee-evidence': { primary_evidence: { svn: '1' }, additional_evidence: '' },
};
const refusedAt = (message: Message<unknown>, json: unknown): string => {
  try {
    message.parse(json);
  } catch (error) {
    expect(error).toBeInstanceOf(MalformedError);
    return (error as MalformedError).field;
  }
  throw new Error('it was accepted');
};

describeWithVectors('the runtime data of kbs/jwe', () => {
  it.each(['p256', 'p521', 'rsa-oaep-256'])('%s', async (name) => {
    const vector = jsonVector<JweVector>(`kbs/jwe/${name}.json`);
    const read = rcarAttestation.parse({
      'runtime-data': { nonce: vector.nonce, 'tee-pubkey': { ...vector['tee-pubkey'], use: 'enc' } },
      'tee-evidence': { primary_evidence: {}, additional_evidence: vector.additional_evidence },
    })['runtime-data'];
    expect(read['tee-pubkey']).toEqual(vector['tee-pubkey']);
    expect(canonicalRuntimeData(read, vector.additional_evidence)).toBe(vector.runtime_data_canonical);
    const reportData = await reportDataOf(read, vector.additional_evidence);
    expect(toHex(reportData)).toBe(vector.snp_report_data_hex);
    expect(reportData.subarray(0, 48)).toEqual(fromHex(vector.runtime_data_sha384_hex));
    expect(await reportDataOf(read, '{}')).not.toEqual(reportData);
  });
});

describe('an attestation request', () => {
  it.each<[unknown]>([[{ 'supported-hash-algorithms': ['sha256', 'sm3'] }], [''], ['foo'], [null]])(
    'takes the free parameters %j',
    (parameters) => {
      const request = { version: '0.4.0', tee: 'snp', 'extra-params': parameters };
      expect(rcarRequest.parse(request)).toEqual(request);
    },
  );

  it('passes over members that the protocol does not have', () => {
    expect(rcarRequest.parse({ version: '9', tee: 'x', more: 1 })).toEqual({ version: '9', tee: 'x' });
  });

  it.each<[unknown, string]>([
    [{ tee: 'snp' }, '/version'],
    [{ version: 4, tee: 'snp' }, '/version'],
    [{ version: '0.4.0', tee: '' }, '/tee'],
    [{ version: 'v'.repeat(65), tee: 'snp' }, '/version'],
    [[], '/'],
    ['snp', '/'],
  ])('is refused as %j', (json, field) => {
    expect(refusedAt(rcarRequest, json)).toBe(field);
  });

  it('names its TEE in either spelling', () => {
    expect(['snp', 'azsnpvtpm', 'az-tdx-vtpm'].map(teeNamed)).toEqual(['snp', 'az-snp-vtpm', 'az-tdx-vtpm']);
    expect(['SNP', 'sev', 'toString', ''].map(teeNamed)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
  });
});

describe('a challenge', () => {
  it('keeps its nonce as text', () => {
    expect(rcarChallenge.parse({ nonce, 'extra-params': '' })).toEqual({ nonce, 'extra-params': '' });
  });

  it.each([
    '',
    nonce.slice(1),
    nonce.replace('=', ''),
    nonce.replace('Y=', 'Z='),
    nonce.replace('/', '_'),
    `${nonce}\n`,
    'A'.repeat(100_000),
    7,
    null,
    undefined,
  ])('with the nonce %j is refused', (wrong) => {
    expect(refusedAt(rcarChallenge, { nonce: wrong, 'extra-params': '' })).toBe('/nonce');
  });

  it('may choose SHA-384 and nothing else', () => {
    for (const free of ['', 'foo', null, {}, [], { 'selected-hash-algorithm': 'SHA384' }])
      expect(() => requireSha384(free)).not.toThrow();
    for (const choice of ['sha512', 'md5', 384])
      expect(() => requireSha384({ 'selected-hash-algorithm': choice })).toThrow('expected SHA-384');
  });
});

describe('an attestation', () => {
  it('is read with init-data, with null, and without', () => {
    expect(rcarAttestation.parse(attestation)).toEqual(attestation);
    const { 'init-data': _, ...without } = attestation;
    expect(rcarAttestation.parse(without)).toEqual(without);
    expect(rcarAttestation.parse({ ...without, 'init-data': null })['init-data']).toBeNull();
  });

  const runtime = attestation['runtime-data'];
  const evidence = attestation['tee-evidence'];
  it.each<[string, object, string]>([
    ['init-data of another format', { 'init-data': { format: 'json', body: '{}' } }, '/init-data/format'],
    ['init-data without text', { 'init-data': { format: 'toml' } }, '/init-data/body'],
    ['another nonce shape', { 'runtime-data': { ...runtime, nonce: 'AAAA' } }, '/runtime-data/nonce'],
    ['no key', { 'runtime-data': { nonce } }, '/runtime-data/tee-pubkey'],
    ['no evidence', { 'tee-evidence': { additional_evidence: '' } }, '/tee-evidence/primary_evidence'],
    [
      'an object of devices',
      { 'tee-evidence': { ...evidence, additional_evidence: {} } },
      '/tee-evidence/additional_evidence',
    ],
    ['the shape of protocol 0.2', { 'runtime-data': undefined, 'tee-pubkey': key }, '/runtime-data'],
  ])('with %s is refused', (_, change, field) => {
    expect(refusedAt(rcarAttestation, { ...attestation, ...change })).toBe(field);
  });

  it('keeps words of 64 bits', () => {
    const text = JSON.stringify(attestation).replace('"svn":"1"', '"policy":18446744073709551615');
    const { primary_evidence } = rcarAttestation.parseText(text)['tee-evidence'];
    expect(primary_evidence).toEqual({ policy: 18446744073709551615n });
  });
});

describe('a guest key', () => {
  const modulus = (first: string, length = 342) => `${first}${'w'.repeat(length - 2)}Q`;
  const rsa = { kty: 'RSA', alg: 'RSA-OAEP-256', n: modulus('w'), e: 'AQAB' };

  it('is kept with the members that count', () => {
    expect(teeKey.parse({ ...key, kid: '1', d: 'secret' })).toEqual(key);
    expect(teeKey.parse({ ...rsa, use: 'enc' })).toEqual(rsa);
  });

  it.each<[string, object, string]>([
    ['no kind', { ...key, kty: undefined }, '/kty'],
    ['another kind', { ...key, kty: 'OKP' }, '/kty'],
    ['a post-quantum key', { kty: 'AKP', alg: 'ML-KEM-768+A192KW', pub: '' }, '/kty'],
    ['another curve', { ...key, crv: 'P-384' }, '/crv'],
    ['another algorithm', { ...key, alg: 'ECDH-ES' }, '/alg'],
    ['a short coordinate', { ...key, x: key.x.slice(2) }, '/x'],
    ['a coordinate of the other curve', { ...key, crv: 'P-521' }, '/x'],
    ['padding', { ...key, y: `${key.y}=` }, '/y'],
    ['spare bits', { ...key, y: key.y.replace(/w$/, 'x') }, '/y'],
    ['RSA with PKCS#1 1.5', { ...rsa, alg: 'RSA1_5' }, '/alg'],
    ['1024 bits', { ...rsa, n: modulus('w', 171) }, '/n'],
    ['a modulus with leading zeros', { ...rsa, n: modulus('A') }, '/n'],
    ['an even modulus', { ...rsa, n: `${rsa.n.slice(0, -1)}g` }, '/n'],
    ['8192 bits', { ...rsa, n: modulus('w', 1366) }, '/n'],
    ['the exponent 1', { ...rsa, e: 'AQ' }, '/e'],
    ['an even exponent', { ...rsa, e: 'AQAA' }, '/e'],
    ['an exponent with leading zeros', { ...rsa, e: 'AAEAAQ' }, '/e'],
    ['an endless exponent', { ...rsa, e: 'AQAAAAAB' }, '/e'],
  ])('is refused with %s', (_, json, field) => {
    expect(refusedAt(teeKey, json)).toBe(field);
  });

  it('has the thumbprint of RFC 7638, section 3.1', async () => {
    // The example of the RFC is an RSA key with other algorithm; the thumbprint does not count it.
    const n =
      '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs' +
      'tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n' +
      '91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw';
    const example = teeKey.parse({ kty: 'RSA', alg: 'RSA-OAEP-256', n, e: 'AQAB' });
    expect(await teeKeyThumbprint(example)).toBe('NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs');
  });
});

describe('answers', () => {
  it('hold a compact JWS and nothing else', () => {
    expect(rcarToken.parse({ token: 'e30.e30.AAAA', more: 1 })).toEqual({ token: 'e30.e30.AAAA' });
    for (const token of ['', 'a.b', 'a.b.c.d', 'a. b.c', 'a.b.c\r\nx: y', '..', 7])
      expect(refusedAt(rcarToken, { token })).toBe('/token');
  });

  it('name their errors as Trustee does', () => {
    const error = rcarErrorOf('PolicyDeny', 'no');
    expect(error.type).toBe('https://github.com/confidential-containers/kbs/errors/PolicyDeny');
    expect(rcarErrorVariant(rcarError.parse(error))).toBe('PolicyDeny');
    expect(rcarErrorVariant({ type: 'https://example.org/PolicyDeny', detail: '' })).toBeUndefined();
  });

  it('are asked for under the protocol’s prefix', () => {
    expect(rcarResourcePath({ repository: 'default', type: 'key', tag: '1' })).toBe(
      '/kbs/v0/resource/default/key/1',
    );
  });
});

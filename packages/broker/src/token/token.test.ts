import { openSecret, Secret, UnavailableError } from '@vouchsafe/sev';
import { decodeJwt, decodeProtectedHeader, exportJWK, generateKeyPair, SignJWT, UnsecuredJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { earClaims, earProfile, signEarToken, verifyEarToken } from './ear-token.js';
import type { TokenRefusedError } from './refused.js';
import {
  createKeyRing,
  type KeyWrapping,
  type SigningKeyRepository,
  type StoredSigningKey,
} from './signing-keys.js';
import { statusOf, tierOf } from './trust-vector.js';

const minute = 60_000;
const issuer = { name: 'this broker', developer: 'https://example.org', build: 'test' };
const subject = {
  id: '5e55',
  vector: { hardware: 2, executables: 3 },
  policyId: 'default',
  root: { name: 'AMD, Milan', kind: 'amd', fingerprint: 'ab' },
  annotatedEvidence: { report_data: '00' },
} as const;

/** Keeps keys as a table would. */
function keyStore() {
  const rows: StoredSigningKey[] = [];
  const repository: SigningKeyRepository = {
    list: async () => [...rows],
    async succeed(key, previousVerifiesUntil) {
      const older = rows.map((row) =>
        row.verifiesUntil === undefined ? { ...row, verifiesUntil: previousVerifiesUntil } : row,
      );
      rows.splice(0, rows.length, key, ...older);
    },
  };
  /** What is kept is a name; the bytes themselves are beside it. */
  const bodies = new Map<string, Uint8Array>();
  const wrapping: KeyWrapping = {
    wrap: async (plaintext, context) => {
      bodies.set(context, openSecret(plaintext).slice());
      return new TextEncoder().encode(context);
    },
    unwrap: async (bytes, context) => {
      expect(new TextDecoder().decode(bytes)).toBe(context);
      return Secret.copyOf(bodies.get(context)!);
    },
  };
  return { rows, repository, wrapping };
}

async function broker(start = Date.UTC(2026, 10, 22)) {
  const clock = { now: start };
  const store = keyStore();
  const { repository, wrapping } = store;
  const ring = () => createKeyRing({ repository, wrapping, now: () => clock.now });
  const keys = ring();
  await keys.rotate(5 * minute, 'test');
  const issue = async (lifetime = 5 * minute, from = keys) => {
    const claims = earClaims(subject, issuer, { now: clock.now, expiresAt: clock.now + lifetime });
    return { token: await signEarToken(from, claims), expiresAt: claims.exp * 1000 };
  };
  const check = (token: string, from = keys) =>
    verifyEarToken(from, token, issuer, clock.now).then(
      () => 'accepted',
      (error: unknown) => (error as TokenRefusedError).check,
    );
  return { clock, ...store, keys, ring, issue, check };
}

describe('a token', () => {
  it('says what was appraised, under the key that is published', async () => {
    const { keys, issue, clock } = await broker();
    const { token, expiresAt } = await issue();
    const [published] = await keys.publicKeys();
    expect(decodeProtectedHeader(token)).toEqual({ typ: 'JWT', alg: 'ES256', kid: published!.kid });
    expect(published).toMatchObject({ kty: 'EC', crv: 'P-256', alg: 'ES256', use: 'sig' });
    expect(published).not.toHaveProperty('d');
    const iat = Math.floor(clock.now / 1000);
    expect(decodeJwt(token)).toEqual({
      eat_profile: earProfile,
      iss: issuer.name,
      jti: subject.id,
      iat,
      nbf: iat,
      exp: iat + 300,
      'ear.verifier-id': { developer: issuer.developer, build: issuer.build },
      submods: {
        cpu0: {
          'ear.status': 'affirming',
          'ear.trustworthiness-vector': subject.vector,
          'ear.appraisal-policy-id': 'default',
          'ear.trustee.identifiers': { validated: {} },
          'ear.vouchsafe.root': subject.root,
          'ear.veraison.annotated-evidence': subject.annotatedEvidence,
        },
      },
    });
    expect(expiresAt).toBe((iat + 300) * 1000);
    expect(await verifyEarToken(keys, token, issuer, clock.now)).toMatchObject({ id: subject.id, expiresAt });
  });

  it('of another replica is as good as its own', async () => {
    const { ring, issue, check } = await broker();
    const { token } = await issue(5 * minute, ring());
    expect(await check(token, ring())).toBe('accepted');
  });

  it('ends with its lifetime, to the second', async () => {
    const { issue, check, clock } = await broker();
    const { token, expiresAt } = await issue();
    clock.now = expiresAt - 1000;
    expect(await check(token)).toBe('accepted');
    clock.now = expiresAt;
    expect(await check(token)).toBe('token.lifetime');
    clock.now = expiresAt - 6 * minute;
    expect(await check(token)).toBe('token.lifetime');
  });

  it('of a retired key is good until its overlap ends', async () => {
    const { keys, issue, check, clock } = await broker();
    const { token } = await issue(60 * minute);
    const before = await keys.publicKeys();
    await keys.rotate(10 * minute, 'test');
    expect((await keys.publicKeys()).length).toBe(2);
    expect((await keys.signer()).kid).not.toBe(before[0]!.kid);
    clock.now += 10 * minute - 1;
    expect(await check(token)).toBe('accepted');
    clock.now += 1;
    expect(await check(token)).toBe('token.key');
    expect((await keys.publicKeys()).map(({ kid }) => kid)).not.toContain(before[0]!.kid);
  });

  it('of a stolen key ends at once, on the other replicas within a second', async () => {
    const { keys, ring, issue, check, clock } = await broker();
    const other = ring();
    const { token } = await issue();
    expect(await check(token, other)).toBe('accepted');
    await keys.rotate(0, 'test');
    expect(await check(token)).toBe('token.key');
    clock.now += 1000;
    expect(await check(token, other)).toBe('token.key');
  });

  it('of another broker is refused, whatever its header says', async () => {
    const [mine, theirs] = [await broker(), await broker()];
    const { token } = await theirs.issue();
    expect(await mine.check(token)).toBe('token.key');

    const { privateKey, publicKey } = await generateKeyPair('ES256');
    const [own] = await mine.keys.publicKeys();
    const claims = decodeJwt(token);
    const jwk = await exportJWK(publicKey);
    const header = { typ: 'JWT', alg: 'ES256' };
    expect(
      await mine.check(await new SignJWT(claims).setProtectedHeader({ ...header, jwk }).sign(privateKey)),
    ).toBe('token.key');
    const namesMine = await new SignJWT(claims)
      .setProtectedHeader({ ...header, kid: own!.kid, jwk })
      .sign(privateKey);
    expect(await mine.check(namesMine)).toBe('token.signature');
  });

  it('without a signature, or with another algorithm, is refused at the algorithm', async () => {
    const { keys, check, issue } = await broker();
    const { token } = await issue();
    const claims = decodeJwt(token);
    const [own] = await keys.publicKeys();
    expect(await check(new UnsecuredJWT(claims).encode())).toBe('token.algorithm');
    const shared = new TextEncoder().encode(JSON.stringify(own));
    const swapped = await new SignJWT(claims)
      .setProtectedHeader({ typ: 'JWT', alg: 'HS256', kid: own!.kid })
      .sign(shared);
    expect(await check(swapped)).toBe('token.algorithm');
    const { privateKey } = await generateKeyPair('ES384');
    const stronger = await new SignJWT(claims)
      .setProtectedHeader({ typ: 'JWT', alg: 'ES384', kid: own!.kid })
      .sign(privateKey);
    expect(await check(stronger)).toBe('token.algorithm');
  });

  it('that was changed is refused at its signature', async () => {
    const { check, issue } = await broker();
    const { token } = await issue();
    const [header, , signature] = token.split('.');
    const other = Buffer.from(JSON.stringify({ ...decodeJwt(token), jti: 'another' })).toString('base64url');
    expect(await check(`${header}.${other}.${signature}`)).toBe('token.signature');
  });

  it('for another purpose, of the same key, is refused at its claims', async () => {
    const { keys, check, clock } = await broker();
    const { kid, key } = await keys.signer();
    const sign = (claims: object) =>
      new SignJWT({
        iss: issuer.name,
        jti: '1',
        eat_profile: earProfile,
        nbf: 0,
        exp: Math.floor(clock.now / 1000) + 60,
        ...claims,
      })
        .setProtectedHeader({ typ: 'JWT', alg: 'ES256', kid })
        .sign(key);
    expect(await check(await sign({}))).toBe('accepted');
    for (const claims of [
      { iss: 'another' },
      { eat_profile: 'another' },
      { jti: 7 },
      { jti: undefined },
      { exp: undefined },
      { nbf: undefined },
      { exp: 'soon' },
    ])
      expect(await check(await sign(claims)), JSON.stringify(claims)).toBe('token.claims');
  });

  it.each(['', 'a', 'a.b.c', '..', 'ey.ey.ey', '{}'])('is not %j', async (text) => {
    const { check } = await broker();
    expect(await check(text)).toBe('token.format');
  });

  it('is not longer than any', async () => {
    const { issue, check } = await broker();
    const { token } = await issue();
    expect(await check(`${token}${' '.repeat(70_000)}`)).toBe('token.format');
  });
});

describe('the signing keys', () => {
  it('are wrapped under their own names', async () => {
    const { rows } = await broker();
    expect(new TextDecoder().decode(rows[0]!.wrappedPrivateKey)).toBe(
      `token signing key ${rows[0]!.publicKey.kid}`,
    );
  });

  it('do not come out of nothing, and overlap is a time', async () => {
    const { repository, wrapping } = keyStore();
    const keys = createKeyRing({ repository, wrapping, now: () => 0 });
    await expect(keys.signer()).rejects.toThrow(UnavailableError);
    await expect(keys.rotate(-1, 'test')).rejects.toMatchObject({ argument: 'overlap' });
  });

  it('are read again when the clock goes backwards', async () => {
    const { keys, ring, check, issue, clock } = await broker();
    const other = ring();
    const { token } = await issue();
    expect(await check(token, other)).toBe('accepted');
    await keys.rotate(0, 'test');
    clock.now -= 1;
    expect((await other.publicKeys()).length).toBe(2);
  });
});

describe('a trust vector', () => {
  it.each([
    [0, 'none'],
    [-1, 'none'],
    [1, 'none'],
    [2, 'affirming'],
    [31, 'affirming'],
    [-2, 'affirming'],
    [-32, 'affirming'],
    [32, 'warning'],
    [95, 'warning'],
    [-33, 'warning'],
    [-96, 'warning'],
    [96, 'contraindicated'],
    [127, 'contraindicated'],
    [-97, 'contraindicated'],
    [-128, 'contraindicated'],
  ] as const)('with %i is %s', (value, tier) => {
    expect(tierOf(value)).toBe(tier);
  });

  it('is as good as its worst claim', () => {
    expect(statusOf({ hardware: 2, executables: 33 })).toBe('warning');
    expect(statusOf({ hardware: 97, executables: 33 })).toBe('contraindicated');
    expect(statusOf({})).toBe('none');
  });
});

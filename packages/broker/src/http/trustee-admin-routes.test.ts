import { largestSealedSecret } from '@vouchsafe/protocol';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { operations, roles } from '../administration/roles.js';
import {
  administrator,
  base64,
  inject,
  makeBroker,
  makeSilicon,
  measurement,
  type Silicon,
  type TestBroker,
  tokenFor,
} from '../testing/broker.js';

let silicon: Silicon;
beforeAll(async () => {
  silicon = await makeSilicon();
});

/** Trustee's tools, as they come with one token. */
const trustee = (world: Pick<TestBroker, 'broker'>, token: string | undefined) => {
  const send = (method: 'GET' | 'POST' | 'DELETE', url: string, payload?: string | object) =>
    inject<{ type?: string; detail?: string }>(world.broker, {
      method,
      url: `/kbs/v0${url}`,
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      ...(payload === undefined ? {} : { payload }),
    });
  return {
    send,
    get: (url: string) => send('GET', url),
    post: (url: string, body: string | object) => send('POST', url, body),
    delete: (url: string) => send('DELETE', url),
  };
};

describe('Trustee’s tools', () => {
  const encoded = (text: string) => Buffer.from(text).toString('base64url');

  it('are never served by default', async () => {
    const world = await makeBroker({ silicon });
    const stranger = trustee(world, undefined);
    for (const answer of [
      await stranger.post('/resource/a/b/c', 'secret'),
      await stranger.delete('/resource/a/b/c'),
      await stranger.get('/resource-policy'),
      await stranger.post('/resource-policy', {}),
      await stranger.post('/attestation-policy', {}),
      await stranger.post('/reference-value', {}),
      await stranger.get('/reference-value/x'),
    ]) {
      expect(answer.status).toBe(401);
      expect(answer.json.type).toMatch(/AdminAuthAccess$/);
    }
  });

  /** Trustee's endpoints, by the operation that each is. */
  const trusteeRequests: readonly [keyof typeof operations, 'GET' | 'POST' | 'DELETE', string][] = [
    ['secret.put', 'POST', '/resource/a/b/c'],
    ['secret.delete', 'DELETE', '/resource/a/b/c'],
    ['policy.set', 'POST', '/resource-policy'],
    ['policy.list', 'GET', '/resource-policy'],
    ['policy.set', 'POST', '/attestation-policy'],
    ['reference.put', 'POST', '/reference-value'],
    ['reference.list', 'GET', '/reference-value/x'],
  ];

  it('do for each role its own work only', async () => {
    const world = await makeBroker({ silicon });
    for (const role of roles) {
      const { token } = await tokenFor(world, [role]);
      for (const [operation, method, url] of trusteeRequests) {
        if ((operations[operation] as readonly string[]).includes(role)) continue;
        const { status, json } = await trustee(world, token).send(method, url);
        expect([status, json.type]).toEqual([401, expect.stringMatching(/AdminAuthAccess$/)]);
        expect(json.detail).toContain(`${operation} needs the role`);
      }
    }
  });

  it('store and delete secrets, whatever the bytes', async () => {
    const world = await makeBroker({ silicon });
    const tools = trustee(world, world.token);
    const stored = await tools.post('/resource/repo/type/tag', '{"not": "parsed"');
    expect([stored.status, stored.text]).toEqual([200, '']);
    expect((await tools.post('/resource/repo/type/tag', 'again')).status).toBe(200);
    const { json } = await world.admin.get<{ versions: unknown[] }>('/v1/secrets/repo/type/tag');
    expect(json.versions).toHaveLength(2);
    const large = await tools.post('/resource/repo/type/tag', 's'.repeat(largestSealedSecret + 1));
    expect([large.status, large.json.type]).toEqual([413, expect.stringMatching(/HTTPFailed$/)]);
    expect((await tools.post('/resource/repo/type', 's')).status).toBe(404);
    expect((await tools.delete('/resource/repo/type/tag')).status).toBe(200);
    const state = await world.admin.get<{ state: string }>('/v1/secrets/repo/type/tag');
    expect(state.json.state).toBe('deleted');
  });

  it('set policies that are recognised, and are told the way out for others', async () => {
    const world = await makeBroker({ silicon });
    const tools = trustee(world, world.token);
    const rego =
      'package policy\n\nimport rego.v1\n\ndefault allow := false\n\nallow if {\n    input.x == 1\n}\n';
    const other = await tools.post('/resource-policy', { policy: encoded(rego) });
    expect([other.status, other.json.type]).toEqual([401, expect.stringContaining('ParsePolicyError')]);
    expect(other.json.detail).toContain('opa build -t wasm');
    const listed = await tools.get('/resource-policy');
    expect(listed.json).toEqual(['resource-policy']);
    const wrong = await tools.post('/attestation-policy', {
      type: 'rego',
      policy_id: 'default_cpu',
      policy: encoded(rego),
    });
    expect([wrong.status, wrong.json.type]).toEqual([401, expect.stringContaining('ParsePolicyError')]);
    const gpu = await tools.post('/attestation-policy', {
      type: 'rego',
      policy_id: 'default_gpu',
      policy: encoded(rego),
    });
    expect(gpu.json.detail).toContain('default_cpu');
    for (const [url, body, where] of [
      ['/resource-policy', {}, 'policy'],
      ['/resource-policy', { policy: 7 }, 'policy'],
      ['/resource-policy', { policy: 'YQ==' }, 'base64url without padding'],
      ['/attestation-policy', { type: 'rego', policy_id: 'default_cpu', policy: '%' }, 'base64url'],
      ['/attestation-policy', { type: 'cedar', policy_id: 'default_cpu', policy: '' }, 'type'],
      ['/attestation-policy', '{"type":"rego","type":"rego"}', 'each member once'],
    ] as const) {
      const malformed = await tools.post(url, body);
      expect([malformed.status, malformed.json.type]).toEqual([
        401,
        expect.stringMatching(/ParsePolicyError$/),
      ]);
      expect(malformed.json.detail).toContain(where);
    }
  });

  it('register reference values, which the broker signs as its own', async () => {
    const world = await makeBroker({ silicon });
    const tools = trustee(world, world.token);
    const message = (values: object) => ({
      version: '0.1.0',
      type: 'sample',
      payload: base64(JSON.stringify(values)),
    });
    expect(
      (await tools.post('/reference-value', message({ snp_launch_measurement: [measurement] }))).text,
    ).toBe('');
    expect((await tools.post('/reference-value', message({ 'a/b': 7 }))).status).toBe(200);
    expect((await tools.get('/reference-value/snp_launch_measurement')).json).toEqual([measurement]);
    expect((await tools.get('/reference-value/a/b')).json).toBe(7);
    expect((await tools.get('/reference-value/a%2Fb')).json).toBe(7);
    const absent = await tools.get('/reference-value/none');
    expect([absent.status, absent.json.type]).toEqual([401, expect.stringContaining('RvpsError')]);
    const { json } =
      await world.admin.get<{ issuer: string; version: number; standing: string }[]>('/v1/reference-values');
    expect(json.map(({ issuer, version, standing }) => [issuer, version, standing])).toEqual(
      expect.arrayContaining([
        ['this-broker', 1, 'superseded'],
        ['this-broker', 2, 'in-force'],
      ]),
    );
    const bad = await tools.post('/reference-value', { ...message({}), type: 'swid' });
    expect([bad.status, bad.json.type]).toEqual([401, expect.stringContaining('RvpsError')]);
  });

  it('may sign their own tokens, where a key was configured, with the roles that it stands for', async () => {
    const { privateKey, publicKey } = await generateKeyPair('EdDSA', { crv: 'Ed25519', extractable: true });
    const stranger = await generateKeyPair('EdDSA', { crv: 'Ed25519', extractable: true });
    const provider = {
      name: 'coco',
      keys: [await exportJWK(publicKey)],
      issuer: 'https://issuer.example',
      roles: { admin: ['admin'], author: ['policy'] },
      withoutRole: ['reader'],
    } as const;
    const world = await makeBroker({ silicon, trusteeAdministrators: [provider] });
    const sign = (claims: object, key = privateKey, alg = 'EdDSA') =>
      new SignJWT({ iss: provider.issuer, exp: world.clock.now / 1000 + 60, ...claims })
        .setProtectedHeader({ alg })
        .sign(key);
    const put = async (token: string) => (await trustee(world, token).post('/resource/a/b/c', 's')).status;
    expect(await put(await sign({ role: 'admin', sub: 'anna' }))).toBe(200);
    const { json } = await world.admin.get<{ body: { by: string } }[]>('/v1/audit/entries?subject=a/b/c');
    expect(json[0]?.body.by).toBe('anna (trustee-jwt coco)');
    expect(await put(await sign({ role: 'author' }))).toBe(401);
    expect(await put(await sign({ role: 'constructor' }))).toBe(401);
    expect(await put(await sign({ role: ['admin'] }))).toBe(401);
    expect(await put(await sign({}))).toBe(401);
    expect((await trustee(world, await sign({})).get('/resource-policy')).status).toBe(200);
    expect(await put(await sign({ role: 'admin', iss: 'another' }))).toBe(401);
    expect(await put(await sign({ role: 'admin', exp: world.clock.now / 1000 - 1 }))).toBe(401);
    expect(await put(await sign({ role: 'admin', exp: undefined }))).toBe(401);
    expect(await put(await sign({ role: 'admin' }, stranger.privateKey))).toBe(401);
    // Only for Trustee's endpoints.
    const api = administrator(world.broker, await sign({ role: 'admin' }));
    expect((await api.get('/v1/secrets')).status).toBe(401);
  });
});

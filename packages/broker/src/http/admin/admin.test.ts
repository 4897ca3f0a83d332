import { wellKnownSecretGuids } from '@vouchsafe/sev';
import { beforeAll, describe, expect, it } from 'vitest';
import { operations, roles } from '../../administration/roles.js';
import { signReferenceDocument } from '../../reference-values/signed-document.js';
import {
  type Answered,
  administrator,
  base64,
  inject,
  makeBroker,
  makeSilicon,
  measurement,
  permitAll,
  publish,
  type Silicon,
  storeSecret,
  tokenFor,
} from '../../testing/broker.js';
import { policies as launchPolicies } from '../../testing/owner.js';
import { makeTestAuthority, type TestAuthority } from '../../testing/platform.js';
import { hex } from '../../testing/questions.js';
import { issuerKey, publicPart, someDocument } from '../../testing/reference-values.js';

let silicon: Silicon;
let authority: TestAuthority;
beforeAll(async () => {
  silicon = await makeSilicon();
  authority = await makeTestAuthority();
});

const hour = 3_600_000;

/** Each operation as a request that succeeds for whoever may do it. */
type Sent = [method: 'get' | 'put' | 'post' | 'patch' | 'delete', url: string, body?: object];
const requests: Readonly<Record<keyof typeof operations, Sent>> = {
  'secret.put': ['put', '/v1/secrets/a/b/c', { content: base64('s') }],
  'secret.change': ['patch', '/v1/secrets/repo/type/tag', { state: 'enabled' }],
  'secret.delete': ['delete', '/v1/secrets/repo/type/tag?version=1'],
  'secret.list': ['get', '/v1/secrets'],
  'policy.set': ['put', '/v1/policies/p', { policy: base64(permitAll) }],
  'policy.delete': ['delete', '/v1/policies/spare'],
  'policy.list': ['get', '/v1/policies'],
  'reference.put': ['post', '/v1/reference-values'],
  'reference.list': ['get', '/v1/reference-values'],
  'issuer.set': ['put', '/v1/issuers/another'],
  'issuer.delete': ['delete', '/v1/issuers/spare'],
  'issuer.list': ['get', '/v1/issuers'],
  'launch.set': [
    'put',
    '/v1/launches/another',
    {
      policy: launchPolicies.sev,
      digests: [{ name: 'n', digest: hex(32, 'a') }],
      secrets: [{ guid: wellKnownSecretGuids.luksKey, resource: 'repo/type/tag' }],
    },
  ],
  'launch.delete': ['delete', '/v1/launches/spare'],
  'launch.list': ['get', '/v1/launches'],
  'token.issue': ['post', '/v1/tokens', { name: 'n', roles: ['admin'], lifetime: 60 }],
  'token.revoke': ['delete', '/v1/tokens/spare'],
  'token.list': ['get', '/v1/tokens'],
  'key.rotate': ['post', '/v1/keys/rotate', { overlap: 60 }],
  'audit.tail': ['get', '/v1/audit/entries'],
  'audit.verify': ['get', '/v1/audit/verify'],
  'audit.export': ['get', '/v1/audit/export'],
  'decision.explain': ['get', '/v1/decisions/0000-0000-0000-0000'],
  'status.show': ['get', '/v1/status'],
};

describe('each role', () => {
  it.each(roles)('%s does its own work, and none of the others’', async (role) => {
    const world = await makeBroker({ silicon, platformRoots: [authority.root] });
    await storeSecret(world);
    await world.admin.put('/v1/policies/spare', { policy: base64(permitAll) });
    await world.admin.put('/v1/launches/spare', requests['launch.set'][2]);
    const spare = await tokenFor(world, ['reader']);
    const key = await issuerKey();
    await world.admin.put('/v1/issuers/spare', { keys: [publicPart(key)] });
    const document = await signReferenceDocument(
      someDocument({
        notBefore: '2026-01-01T00:00:00Z',
        notAfter: '2027-01-01T00:00:00Z',
        measurements: [{ value: measurement }],
      }),
      world.issuer,
    );
    const { as } = await tokenFor(world, [role]);
    for (const [operation, [method, url, given]] of Object.entries(requests)) {
      const bodies: Record<string, object> = {
        'reference.put': { document },
        'issuer.set': { keys: [publicPart(key)] },
      };
      const answer: Answered = await as[method](
        url.replace('tokens/spare', `tokens/${spare.id}`),
        bodies[operation] ?? given,
      );
      const may = (operations[operation as keyof typeof operations] as readonly string[]).includes(role);
      if (!may) expect([answer.status, operation], operation).toEqual([403, operation]);
      else if (operation === 'decision.explain') expect(answer.status).toBe(404);
      else if (operation === 'token.issue') expect(answer.status).toBe(201);
      else expect([200, 201], `${operation}: ${answer.text}`).toContain(answer.status);
      if (!may)
        expect(answer.json).toMatchObject({
          error: 'forbidden',
          message: expect.stringContaining(operation),
        });
    }
  });

  it('every route of the API says which operation it is', async () => {
    const world = await makeBroker({ silicon });
    const stranger = administrator(world.broker, undefined);
    type Described = Readonly<Record<string, { description: string; responses: object }>>;
    const { json } = await inject<{ paths: Record<string, Described> }>(world.broker, {
      method: 'GET',
      url: '/openapi.json',
    });
    const paths = Object.entries(json.paths);
    expect(paths.length).toBeGreaterThan(15);
    for (const [path, methods] of paths) {
      expect(path).toMatch(/^\/v1\//);
      for (const [method, { description, responses }] of Object.entries(methods)) {
        expect(description).toMatch(/^Needs the role (?:admin|policy|auditor)\b/);
        expect(responses).toHaveProperty('4XX');
        const url = path.replaceAll(/\{[^}]+\}/g, 'x');
        const answer = await stranger[method as 'get'](url);
        expect([answer.status, method, path]).toEqual([401, method, path]);
        expect(answer.json).toMatchObject({ error: 'unauthenticated' });
      }
    }
  });
});

describe('a token', () => {
  it('is refused when it is none, unknown, expired or revoked, all in the same words', async () => {
    const world = await makeBroker({ silicon });
    const short = await tokenFor(world, ['reader'], 60);
    const revoked = await tokenFor(world, ['reader']);
    expect((await short.as.get('/v1/secrets')).status).toBe(200);
    await world.admin.delete(`/v1/tokens/${revoked.id}`);
    world.clock.now += 61_000;
    const texts = [];
    for (const token of [
      undefined,
      'nonsense',
      short.token,
      revoked.token,
      `${world.token.slice(0, -1)}${world.token.endsWith('A') ? 'B' : 'A'}`,
      world.token.replace(/_[0-9a-f]{16}_/, '_0000000000000000_'),
    ]) {
      const { status, text, headers } = await administrator(world.broker, token).get('/v1/secrets');
      expect(status).toBe(401);
      expect(headers['www-authenticate']).toBe('Bearer');
      texts.push(text);
    }
    expect(new Set(texts).size).toBe(1);
    const logged = world.logs
      .map((line) => JSON.parse(line) as { reason?: string })
      .flatMap(({ reason }) => reason ?? []);
    expect(logged).toEqual(['absent', 'malformed', 'expired', 'revoked', 'unknown', 'unknown']);
  });

  it('can be used at another replica, and is revoked there as well', async () => {
    const world = await makeBroker({ silicon });
    const replica = await world.open({ replica: 'two' });
    const { token, id } = await tokenFor(world, ['reader']);
    expect((await administrator(replica, token).get('/v1/secrets')).status).toBe(200);
    await world.admin.delete(`/v1/tokens/${id}`);
    expect((await administrator(replica, token).get('/v1/secrets')).status).toBe(401);
    expect((await world.admin.delete(`/v1/tokens/${id}`)).status).toBe(404);
  });

  it('makes no token that may do more than itself', async () => {
    const world = await makeBroker({ silicon });
    const { as } = await tokenFor(world, ['admin']);
    const answer = await as.post('/v1/tokens', { name: 'more', roles: ['admin', 'auditor'], lifetime: 60 });
    expect([answer.status, answer.json['error']]).toEqual([403, 'forbidden']);
  });

  it('is short-lived', async () => {
    const world = await makeBroker({ silicon });
    const wanted = { name: 'n', roles: ['admin'] };
    expect((await world.admin.post('/v1/tokens', { ...wanted, lifetime: 91 * 24 * 3600 })).status).toBe(400);
    const { json } = await world.admin.get<{ expiresAt: string; createdAt: string }[]>('/v1/tokens');
    const first = json.at(-1)!;
    expect(Date.parse(first.expiresAt) - Date.parse(first.createdAt)).toBe(30 * 24 * hour);
    expect(JSON.stringify(json)).not.toContain(world.token.slice(-20));
  });
});

describe('policies', () => {
  it('that do not type-check are refused, and what decided before goes on deciding', async () => {
    const world = await makeBroker({ silicon });
    for (const text of [
      'permit (principal, action, resource',
      '@id("x") permit (principal is SnpGuest, action, resource) when { principal.measurment == "00" };',
      '',
    ]) {
      const { status, json } = await world.admin.put('/v1/policies/default', { policy: base64(text) });
      expect([status, json['error']]).toEqual([400, 'invalid-argument']);
    }
    const { json } = await world.admin.get<{ version: number; policy: string }>('/v1/policies/default');
    expect(json.version).toBe(1);
    expect(Buffer.from(json.policy, 'base64').toString()).toContain('deny-all');
  });

  it('are shown as they were set, by whom', async () => {
    const world = await makeBroker({ silicon });
    const set = await world.admin.put<{ version: number; language: string }>('/v1/policies/web', {
      policy: base64(permitAll),
    });
    expect(set.json).toMatchObject({ version: 1, language: 'cedar', name: 'web', warnings: [] });
    const { json } = await world.admin.get<{ name: string; author: string }[]>('/v1/policies');
    expect(json.map(({ name }) => name)).toEqual(['default', 'web']);
    expect(json[1]?.author).toMatch(/^first administrator \(token [0-9a-f]{16}\)$/);
    expect((await world.admin.delete('/v1/policies/none')).status).toBe(404);
    expect((await world.admin.get('/v1/policies/none')).status).toBe(404);
  });
});

describe('reference values', () => {
  it('unsigned, of a stranger, rolled back or expired are refused at the named check', async () => {
    const world = await makeBroker({ silicon });
    const stranger = await issuerKey();
    const accepted = await publish(world, { version: 8 });
    expect(accepted.status).toBe(201);
    const failing = async (answer: Answered) => {
      expect(answer.status).toBe(403);
      const { checks } = answer.json as { checks: { id: string; status: string }[] };
      return checks.filter(({ status }) => status === 'fail').map(({ id }) => id)[0];
    };
    expect(await failing(await publish(world, { version: 9 }, stranger))).toBe('reference.signature');
    expect(await failing(await publish(world, { version: 9, issuer: 'nobody' }))).toBe('reference.issuer');
    expect(await failing(await publish(world, { version: 8 }))).toBe('reference.version');
    expect(await failing(await publish(world, { version: 7 }))).toBe('reference.version');
    expect(await failing(await publish(world, { version: 9, notAfter: '2026-03-01T00:00:00Z' }))).toBe(
      'reference.validity',
    );
    expect(await failing(await world.admin.post('/v1/reference-values', { document: '{}' }))).toBe(
      'reference.format',
    );
    const { json } = await world.admin.get<{ version: number; standing: string }[]>('/v1/reference-values');
    expect(json.map(({ version, standing }) => [version, standing])).toEqual([[8, 'in-force']]);
  });

  it('stop to count when their issuer is trusted no more', async () => {
    const world = await makeBroker({ silicon });
    await publish(world);
    await world.admin.delete('/v1/issuers/releases@example.org');
    expect((await world.admin.get<unknown[]>('/v1/reference-values')).json).toEqual([]);
    const { json } = await world.admin.get<{ name: string }[]>('/v1/issuers');
    expect(json.map(({ name }) => name)).toEqual(['this-broker']);
  });

  it('are not signed in the broker’s own name by anybody else', async () => {
    const world = await makeBroker({ silicon });
    const key = publicPart(await issuerKey());
    expect((await world.admin.put('/v1/issuers/this-broker', { keys: [key] })).status).toBe(400);
    const secret = await world.admin.put('/v1/issuers/other', { keys: [{ ...key, d: 'AAAA' }] });
    expect(secret.status).toBe(400);
  });
});

describe('the record', () => {
  it('has every administrative act, and by whom', async () => {
    const world = await makeBroker({ silicon });
    await storeSecret(world);
    await publish(world);
    await world.admin.post('/v1/keys/rotate', { overlap: 60 });
    const { json } = await world.admin.get<{ body: { act?: string; by?: string } }[]>(
      '/v1/audit/entries?kind=administration&limit=100',
    );
    expect(json.map(({ body }) => body.act)).toEqual([
      'key.rotate',
      'policy.set',
      'token.issue',
      'issuer.set',
      'policy.set',
      'secret.put',
      'reference.put',
      'key.rotate',
    ]);
    for (const { body } of json) expect(body.by).toMatch(/^(?:broker init|first administrator)/);
  });

  it('can be taken away, line by line', async () => {
    const world = await makeBroker({ silicon });
    const { text, headers, status } = await world.admin.get('/v1/audit/export');
    expect([status, headers['content-type']]).toEqual([200, 'application/x-ndjson']);
    const lines = text.trimEnd().split('\n');
    expect(lines.length).toBeGreaterThan(5);
    for (const line of lines)
      expect(Object.keys(JSON.parse(line) as object)[0]).toMatch(/^(?:entry|checkpoint)$/);
  });
});

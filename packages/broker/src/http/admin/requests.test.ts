import { largestSealedSecret } from '@vouchsafe/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import { base64, inject, makeBroker, makeSilicon, type Silicon } from '../../testing/broker.js';
import { askRaw } from '../../testing/raw-request.js';
import { shared } from '../../testing/releasing.js';

let silicon: Silicon;
beforeAll(async () => {
  silicon = await makeSilicon();
});

type Method = 'put' | 'post' | 'patch';

describe('what administrators send', () => {
  const broker = shared((atEnd) => makeBroker({ silicon, atEnd }));

  it.each([
    ['{"content":"cw==","content":"cw=="}', 'each member once'],
    ['{"content":"cw==","debug":true}', 'debug'],
    ['{"content":7}', 'content'],
    ['{"content":"%%%"}', 'content'],
    ['{"content":"cw==","releases":0}', 'releases'],
    ['{"content":"cw==","notBefore":"tomorrow"}', 'notBefore'],
    ['{"content":"cw==","notBefore":"2026-05-01T00:00:00Z","notAfter":"2026-04-01T00:00:00Z"}', 'notAfter'],
    ['[]', 'object'],
    ['{', 'JSON'],
    [`${'['.repeat(40)}${']'.repeat(40)}`, 'levels'],
  ])('is refused at its member: %s', async (payload, where) => {
    const world = broker();
    const answer = await inject<{ message: string }>(world.broker, {
      method: 'PUT',
      url: '/v1/secrets/a/b/c',
      headers: { authorization: `Bearer ${world.token}`, 'content-type': 'application/json' },
      payload,
    });
    expect(answer.status).toBe(400);
    expect(answer.text).toContain(where);
    expect((await world.admin.get<unknown[]>('/v1/secrets')).json).toEqual([]);
  });

  it.each<[method: Method, url: string, body: object, where: string]>([
    ['put', '/v1/secrets/a/b/c', { content: 'cw==', policy: '../x' }, 'body/policy'],
    ['patch', '/v1/secrets/a/b/c', {}, 'expected a change'],
    ['patch', '/v1/secrets/a/b/c', { state: 'deleted' }, 'body/state'],
    ['patch', '/v1/secrets/a/b/c', { policy: 'default', version: 1 }, 'version'],
    ['put', '/v1/policies/p', { policy: '%' }, 'body/policy'],
    ['put', '/v1/policies/.p', { policy: 'cw==' }, 'params/name'],
    ['put', '/v1/policies/p', { policy: 'cw==', name: 'q' }, 'name'],
    ['post', '/v1/reference-values', { document: 7 }, 'body/document'],
    ['put', '/v1/issuers/i', { keys: [] }, 'body/keys'],
    ['put', '/v1/issuers/i', { keys: [{ kty: 'oct', k: 'AAAA' }] }, 'keys'],
    ['post', '/v1/tokens', { name: 'n', roles: [], lifetime: 60 }, 'body/roles'],
    ['post', '/v1/tokens', { name: 'n', roles: ['owner'], lifetime: 60 }, 'body/roles'],
    ['post', '/v1/tokens', { name: 'n\n', roles: ['admin'], lifetime: 60 }, 'name'],
    ['post', '/v1/tokens', { name: 'n', roles: ['admin'], lifetime: 0 }, 'body/lifetime'],
    ['post', '/v1/keys/rotate', { overlap: -1 }, 'body/overlap'],
    ['post', '/v1/keys/rotate', { overlap: 7 * 86_400 + 1 }, 'body/overlap'],
  ])('is refused at its member: %s %s %j', async (method, url, body, where) => {
    const { status, text } = await broker().admin[method](url, body);
    expect(status).toBe(400);
    expect(text).toContain(where);
  });

  it.each([
    '/v1/audit/entries?kind=gossip',
    '/v1/audit/entries?limit=1001',
    '/v1/audit/entries?since=yesterday',
    '/v1/audit/entries?other=1',
    `/v1/decisions/${'1'.repeat(65)}`,
  ])('asks for what there can be, unlike %s', async (url) => {
    const { status, json } = await broker().admin.get(url);
    expect([status, json['error']]).toEqual([400, 'malformed']);
  });

  it('is at most as much as a guest can be sent', async () => {
    const { admin } = await makeBroker({ silicon });
    const content = Buffer.alloc(largestSealedSecret + 1).toString('base64');
    const answer = await admin.put('/v1/secrets/large/type/tag', { content });
    expect([answer.status, answer.json['argument']]).toEqual([400, 'secret']);
    const fitting = Buffer.alloc(largestSealedSecret).toString('base64');
    expect((await admin.put('/v1/secrets/large/type/tag', { content: fitting })).status).toBe(201);
  });

  it('is about what is there: 404 otherwise, and nothing has changed', async () => {
    const { admin } = broker();
    const before = (await admin.get<unknown[]>('/v1/audit/entries?limit=1000')).json.length;
    for (const [method, url, body] of [
      ['get', '/v1/secrets/a/b/none'],
      ['delete', '/v1/secrets/a/b/none'],
      ['delete', '/v1/secrets/a/b/none?version=1'],
      ['patch', '/v1/secrets/a/b/none', { state: 'disabled' }],
      ['patch', '/v1/secrets/a/b/none', { policy: 'default' }],
      ['patch', '/v1/secrets/a/b/none', { policy: 'none' }],
      ['put', '/v1/secrets/a/b/none', { content: 'cw==', policy: 'none' }],
      ['delete', '/v1/tokens/0000000000000000'],
      ['delete', '/v1/policies/none'],
      ['delete', '/v1/issuers/none'],
      ['delete', '/v1/launches/none'],
    ] as const) {
      const { status, json } = await admin[method](url, body);
      expect([url, status, json['error']]).toEqual([url, 404, 'not-found']);
    }
    expect((await admin.get<unknown[]>('/v1/audit/entries?limit=1000')).json).toHaveLength(before);
  });

  it('names a secret by plain segments', async () => {
    const world = broker();
    const address = await world.broker.listen({ host: '127.0.0.1', port: 0 });
    const headers = { authorization: `Bearer ${world.token}`, 'content-type': 'application/json' };
    const body = JSON.stringify({ content: base64('s') });
    for (const tag of ['..', '.hidden', 'a%2Fb', '%2e%2e', 't%C3%A4g', 'a%00', 'a%20', 'x'.repeat(129)]) {
      const path = `/v1/secrets/a/b/${tag}`;
      const answer = await askRaw<{ field: string }>(address, path, { method: 'PUT', headers, body });
      expect([tag, answer.status, answer.json.field]).toEqual([tag, 400, 'params/tag']);
    }
    for (const path of ['/v1/secrets/a/b', '/v1/secrets/a/b/c/d', '/v1/x/../secrets/a/b/c'])
      expect((await askRaw(address, path, { method: 'PUT', headers, body })).status, path).toBe(404);
    const broken = await askRaw<{ field: string }>(address, '/v1/secrets/a/b/%', {
      method: 'PUT',
      headers,
      body,
    });
    expect([broken.status, broken.json.field]).toEqual([400, 'path']);
    expect((await world.admin.get<unknown[]>('/v1/secrets')).json).toEqual([]);
  });

  it('has a largest size and a type', async () => {
    const world = broker();
    const headers = { authorization: `Bearer ${world.token}` };
    const send = (payload: string, type: string) =>
      inject(world.broker, {
        method: 'POST',
        url: '/v1/tokens',
        payload,
        headers: { ...headers, 'content-type': type },
      });
    expect((await send(' '.repeat(65 * 1024), 'application/json')).status).toBe(413);
    expect((await send('{}', 'text/plain')).status).toBe(415);
    const unknown = await inject<{ error: string }>(world.broker, {
      method: 'GET',
      url: '/v1/nothing',
      headers,
    });
    expect([unknown.status, unknown.json.error]).toEqual([404, 'not-found']);
  });
});

import { largestRcarRequest } from '@vouchsafe/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  inject,
  makeBroker,
  makeGuest,
  makeSilicon,
  minute,
  type Silicon,
  type TestBroker,
} from '../testing/broker.js';
import { askRaw } from '../testing/raw-request.js';
import { type ErrorAnswer, entries, path, releasing, shared, variantOf } from '../testing/releasing.js';

let silicon: Silicon;
beforeAll(async () => {
  silicon = await makeSilicon();
});
const broker = shared((atEnd) => releasing({ silicon, atEnd }));

describe('a body', () => {
  const send = (world: TestBroker, url: string, payload: string | Buffer) =>
    inject<{ type: string; detail: string }>(world.broker, { method: 'POST', url, payload });

  it('has a largest size, and is text', async () => {
    const world = broker();
    const large = await send(world, '/kbs/v0/attest', ' '.repeat(largestRcarRequest + 1));
    expect([large.status, variantOf(large)]).toEqual([413, 'HTTPFailed']);
    expect((await send(world, '/kbs/v0/auth', ' '.repeat(65 * 1024))).status).toBe(413);
    const bytes = await send(world, '/kbs/v0/auth', Buffer.from([0xff, 0xfe]));
    expect([bytes.status, variantOf(bytes)]).toEqual([401, 'AttestationError']);
  });
});

describe('the path of a resource', () => {
  const ask = (address: string, wanted: string, cookie: string): Promise<ErrorAnswer> =>
    askRaw(address, wanted, { headers: { cookie } });

  it('is three plain segments, whatever else might lead there', async () => {
    const world = broker();
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(world.broker);
    const address = await world.broker.listen({ host: '127.0.0.1', port: 0 });
    const resource = '/kbs/v0/resource/';
    const outcomes: [string, string][] = [
      [`${resource}repo/type`, 'InvalidRequestPath'],
      [`${resource}repo/type/tag/more`, 'InvalidRequestPath'],
      [`${resource}repo/type/tag/`, 'InvalidRequestPath'],
      [`${resource}/repo/type/tag`, 'InvalidRequestPath'],
      [`${resource}repo//tag`, 'InvalidRequestPath'],
      [`${resource}../type/tag`, 'InvalidRequestPath'],
      [`${resource}x/../repo/type/tag`, 'InvalidRequestPath'],
      [`${resource}repo/type/..`, 'InvalidRequestPath'],
      [`${resource}repo/type/.hidden`, 'InvalidRequestPath'],
      [`${resource}repo/type/%2e%2e`, 'InvalidRequestPath'],
      [`${resource}repo/type%2ftag`, 'InvalidRequestPath'],
      [`${resource}repo/type/tag%00`, 'InvalidRequestPath'],
      [`${resource}repo/type/ta%67`, 'InvalidRequestPath'],
      [`${resource}repo/type/tag%20`, 'InvalidRequestPath'],
      [`${resource}repo/type/t%C3%A4g`, 'InvalidRequestPath'],
      [`${resource}repo/type/tag%`, 'InvalidRequestPath'],
      [`${resource}repo/type/tag;x`, 'InvalidRequestPath'],
      [resource, 'InvalidRequestPath'],
      ['/kbs/v0/RESOURCE/repo/type/tag', 'PluginNotFound'],
      ['/kbs/v0/other/../resource/repo/type/tag', 'PluginNotFound'],
    ];
    for (const [wanted, variant] of outcomes) {
      const answer = await ask(address, wanted, cookie);
      expect([wanted, answer.status, variantOf(answer)]).toEqual([wanted, 404, variant]);
    }
    expect(await entries(world, '&kind=decision')).toEqual([]);
    expect((await ask(address, `${resource}${path}?q=1`, cookie)).status).toBe(200);
  });

  it('is asked for by GET: headers alone would release what they are of', async () => {
    const world = await releasing({ silicon });
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(world.broker);
    const url = `/kbs/v0/resource/${path}`;
    const answer = await inject(world.broker, { method: 'HEAD', url, headers: { cookie } });
    expect(answer.status).toBe(404);
    expect(await entries(world, '&kind=release')).toEqual([]);
  });

  it('is below a plugin that is there', async () => {
    const world = broker();
    for (const [method, url] of [
      ['GET', '/kbs/v0/provisioner/x'],
      ['PUT', '/kbs/v0/resource/a/b/c'],
      ['GET', '/kbs/v0/auth'],
    ] as const) {
      const answer = await inject<{ type: string; detail: string }>(world.broker, { method, url });
      expect([answer.status, variantOf(answer)]).toEqual([404, 'PluginNotFound']);
    }
  });
});

describe('whoever asks too often', () => {
  it('is told to wait, by its address', async () => {
    const world = await makeBroker({ silicon, limits: { perAddress: { perMinute: 60, burst: 5 } } });
    const guest = await makeGuest(silicon.endorser);
    const statuses = [];
    for (let i = 0; i < 6; i++) statuses.push((await guest.challenge(world.broker)).status);
    expect(statuses).toContain(200);
    expect(statuses.at(-1)).toBe(429);
    const answer = (await guest.challenge(world.broker)) as unknown as ErrorAnswer;
    expect(variantOf(answer)).toBe('HTTPFailed');
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
  });

  it('is known by its network, and by what a proxy says only where that is believed', async () => {
    const perAddress = { perMinute: 60, burst: 2 };
    const status = async ({ broker: { app } }: TestBroker, remoteAddress: string, forwarded?: string) => {
      const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded };
      return (await app.inject({ method: 'GET', url: '/healthz', remoteAddress, headers })).statusCode;
    };
    const world = await makeBroker({ silicon, limits: { perAddress }, trustProxy: ['192.0.2.1'] });
    const asked = async (...clients: [string, string?][]) => {
      const statuses = [];
      for (const [address, forwarded] of clients) statuses.push(await status(world, address, forwarded));
      return statuses;
    };
    // One customer has a whole /64.
    expect(await asked(['2001:db8::1'], ['2001:db8::2'], ['2001:db8::3'], ['2001:db8:0:1::1'])).toEqual([
      200, 200, 429, 200,
    ]);
    const proxy = '192.0.2.1';
    expect(
      await asked(
        [proxy, '203.0.113.1'],
        [proxy, '203.0.113.1'],
        [proxy, '203.0.113.1'],
        [proxy, '203.0.113.2'],
      ),
    ).toEqual([200, 200, 429, 200]);
    const stranger = '198.51.100.1';
    expect(
      await asked([stranger, '203.0.113.3'], [stranger, '203.0.113.4'], [stranger, '203.0.113.5']),
    ).toEqual([200, 200, 429]);
  });

  it('is told to wait, by its chip', async () => {
    const world = await makeBroker({ silicon, limits: { perChip: { perMinute: 2, burst: 2 } } });
    const guest = await makeGuest(silicon.endorser);
    expect((await guest.attested(world.broker)).status).toBe(200);
    expect((await guest.attested(world.broker)).status).toBe(200);
    const third = await guest.attested(world.broker);
    expect([third.status, third.headers['retry-after']]).toEqual([429, '30']);
    world.clock.now += minute / 2;
    expect((await guest.attested(world.broker)).status).toBe(200);
  });
});

describe('what monitors see', () => {
  it('counts, and names no resource', async () => {
    const world = await releasing({ silicon });
    const guest = await makeGuest(silicon.endorser);
    const session = await guest.attested(world.broker);
    await guest.get(world.broker, path, session);
    await guest.get(world.broker, 'repo/type/other', session);
    const { text, headers } = await inject(world.broker, { method: 'GET', url: '/metrics' });
    expect(headers['content-type']).toContain('text/plain');
    for (const line of [
      'kbs_auth_requests_total 1',
      'kbs_attestation_successes_total{tee_type="snp"} 1',
      'kbs_policy_approvals_total 2',
      'vouchsafe_releases_total{outcome="released"} 1',
      'vouchsafe_releases_total{outcome="absent"} 1',
      'kbs_http_requests_total{method="GET",route="/kbs/v0/resource/*",status="200"} 1',
      'vouchsafe_revocation_fresh{subject="Milan VCEK"} 1',
    ])
      expect(text).toContain(line);
    expect(text).not.toContain('repo/type');
    expect((await inject(world.broker, { method: 'POST', url: '/metrics', payload: 'x' })).status).toBe(405);
    expect((await inject(world.broker, { method: 'GET', url: '/healthz' })).status).toBe(200);
    expect(world.logs.join('')).not.toContain('repo/type');
  });

  it('publishes the keys of its tokens', async () => {
    const world = await makeBroker({ silicon });
    const { json } = await inject<{ keys: { kid: string; alg: string }[] }>(world.broker, {
      method: 'GET',
      url: '/.well-known/jwks.json',
    });
    expect(json.keys).toHaveLength(1);
    expect(Object.keys(json.keys[0]!).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']);
  });
});

import { sealToTeeKey, type TeeKey, teeKeyKinds } from '@vouchsafe/protocol';
import {
  buildCertificateTable,
  certificateTableGuids,
  generateP384,
  InvalidArgumentError,
  MalformedError,
  openSecret,
  type P384PrivateKey,
  Secret,
  UnavailableError,
} from '@vouchsafe/sev';
import { beforeAll, describe, expect, it } from 'vitest';
import { makeReport } from '../../../sev/src/testing/reports.js';
import { type FakeAnswer, type FakeBrokerOptions, startFakeBroker } from '../testing/fake-key-broker.js';
import { connectKeyBroker, type KeyBrokerOptions } from './broker-client.js';
import type { ReportSource } from './evidence.js';
import { AttestationRefusedError, ReleaseRefusedError, ResourceAbsentError } from './refusals.js';

const path = { repository: 'default', type: 'key', tag: '1' };
const resource = 'GET /kbs/v0/resource/default/key/1';
const exchange = ['POST /kbs/v0/auth', 'POST /kbs/v0/attest'];

let chipKey: P384PrivateKey;
beforeAll(async () => {
  chipKey = await generateP384();
});

const device = (certificateTable?: Uint8Array): ReportSource => ({
  report: async ({ reportData }) => ({
    report: await makeReport(chipKey, { fields: { reportData } }),
    ...(certificateTable === undefined ? {} : { certificateTable }),
  }),
});

/** A broker and a client of it that keeps time in a variable. */
async function meet(broker: FakeBrokerOptions = {}, client: Partial<KeyBrokerOptions> = {}) {
  const server = await startFakeBroker(broker);
  const clock = { now: 1000 };
  const pauses: number[] = [];
  const connected = connectKeyBroker({
    address: server.address,
    device: device(),
    now: () => clock.now,
    pause: async (milliseconds) => void pauses.push(milliseconds),
    timeout: 5000,
    ...client,
  });
  const fetchText = async () => {
    const secret = await connected.getResource(path);
    return new TextDecoder().decode(openSecret(secret));
  };
  return { server, client: connected, clock, pauses, fetchText };
}
const errorBody = (variant: string, detail = 'said') =>
  JSON.stringify({ type: `https://github.com/confidential-containers/kbs/errors/${variant}`, detail });

/** Answers one route in the broker's place, so many times. */
const instead = (route: string, answer: FakeAnswer | 'hang up' | 'say nothing', times = Infinity) => {
  let left = times;
  return (asked: string) => (asked === route && left-- > 0 ? answer : undefined);
};

describe('a guest that asks a key broker', () => {
  it.each(teeKeyKinds)('attests with a key of the kind %s and gets its secret', async (keyKind) => {
    const { server, fetchText } = await meet({}, { keyKind });
    expect(await fetchText()).toBe('the first secret');
    expect(server.requests).toEqual([...exchange, resource]);
    expect(server.keys[0]!.alg).toBe(keyKind === 'RSA-OAEP-256' ? 'RSA-OAEP-256' : 'ECDH-ES+A256KW');
  });

  it('zeroes its key at the end, and gets nothing any more', async () => {
    const { server, client } = await meet();
    const { key } = await client.passport();
    expect(key.privateKey.isZeroed).toBe(false);
    await client.close();
    expect(key.privateKey.isZeroed).toBe(true);
    await expect(client.getResource(path)).rejects.toThrow('it was closed');
    await expect(client.token()).rejects.toThrow('it was closed');
    expect(server.requests).toEqual(exchange);
  });

  it('attests once for many secrets, asked for at once too', async () => {
    const { server, client } = await meet();
    await Promise.all([client.getResource(path), client.getResource(path), client.token()]);
    await client.getResource(path);
    expect(server.requests).toEqual([...exchange, resource, resource, resource]);
  });

  it('sends init-data as it is, and the host’s certificates', async () => {
    const bodies: string[] = [];
    const guid = certificateTableGuids.VCEK;
    const pem = new TextEncoder().encode('-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n');
    const table = buildCertificateTable([
      { guid, bytes: pem },
      { guid: certificateTableGuids.CRL, bytes: Uint8Array.of(9) },
    ]);
    const intercept = (_: string, { body }: { body: string }) => void bodies.push(body);
    const { fetchText } = await meet(
      { intercept },
      { initData: 'version = "0.1.0"\n', device: device(table) },
    );
    await fetchText();
    const sent = JSON.parse(bodies[1]!);
    expect(sent['init-data']).toEqual({ format: 'toml', body: 'version = "0.1.0"\n' });
    expect(sent['tee-evidence'].primary_evidence.cert_chain).toEqual([
      { cert_type: 'VCEK', data: [1, 2, 3] },
      { cert_type: 'CRL', data: [9] },
    ]);
  });

  it('attests without the host’s certificates when they cannot be read', async () => {
    const bodies: string[] = [];
    const intercept = (_: string, { body }: { body: string }) => void bodies.push(body);
    const { fetchText } = await meet({ intercept }, { device: device(new Uint8Array(100).fill(7)) });
    expect(await fetchText()).toBe('the first secret');
    expect(JSON.parse(bodies[1]!)['tee-evidence'].primary_evidence.cert_chain).toBeNull();
  });

  it('attests anew shortly before its token ends, with the same key', async () => {
    const { server, clock, fetchText } = await meet({ lifetime: 300 });
    await fetchText();
    clock.now += 269_000;
    await fetchText();
    expect(server.requests).toHaveLength(4);
    clock.now += 2000;
    await fetchText();
    expect(server.requests.slice(4)).toEqual([...exchange, resource]);
    expect(server.keys[1]).toEqual(server.keys[0]);
  });

  it('attests once where many find their session over at once', async () => {
    const { server, client, clock } = await meet({ lifetime: 300 });
    await client.getResource(path);
    clock.now += 280_000;
    await Promise.all([client.getResource(path), client.getResource(path), client.token()]);
    expect(server.keys).toHaveLength(2);
    server.forget();
    await Promise.all([client.getResource(path), client.getResource(path)]);
    expect(server.keys).toHaveLength(3);
  });

  it('uses a short token for half its life', async () => {
    const { server, clock, fetchText } = await meet({ lifetime: 10 });
    await fetchText();
    clock.now += 4999;
    await fetchText();
    expect(server.keys).toHaveLength(1);
    clock.now += 1;
    await fetchText();
    expect(server.keys).toHaveLength(2);
  });

  it('attests anew when its clock was stepped backwards', async () => {
    const { server, clock, fetchText } = await meet();
    await fetchText();
    clock.now -= 1;
    await fetchText();
    expect(server.requests.filter((route) => route === exchange[1])).toHaveLength(2);
  });

  it('attests anew, once, when the broker knows its session no more', async () => {
    const { server, fetchText } = await meet();
    await fetchText();
    server.forget();
    expect(await fetchText()).toBe('the first secret');
    expect(server.requests.slice(3)).toEqual([resource, ...exchange, resource]);
  });

  it('does not attest for ever', async () => {
    const refused = { status: 401, body: errorBody('TokenVerifierError', 'bad token') };
    const { server, fetchText } = await meet({ intercept: instead(resource, refused) });
    await expect(fetchText()).rejects.toThrow('bad token');
    expect(server.requests).toEqual([...exchange, resource, ...exchange, resource]);
  });

  it('gets the same answer again when one is lost on the way', async () => {
    for (const route of [...exchange, resource]) {
      const { server, pauses, fetchText } = await meet({ intercept: instead(route, 'hang up', 2) });
      expect(await fetchText()).toBe('the first secret');
      expect(server.requests.filter((asked) => asked === route)).toHaveLength(3);
      expect(server.requests).toHaveLength(5);
      expect(pauses).toEqual([1000, 2000]);
    }
  });

  it('is patient with a broker that is busy, as long as that asks for', async () => {
    const busy = { status: 429, body: errorBody('HTTPFailed'), headers: { 'retry-after': '7' } };
    const { pauses, fetchText } = await meet({ intercept: instead(exchange[0]!, busy, 2) });
    expect(await fetchText()).toBe('the first secret');
    expect(pauses).toEqual([7000, 7000]);
  });

  it.each([
    ['forever', '7', 4],
    ['for an hour', '3600', 0],
  ])('gives up on one that is busy %s', async (_, wait, pauseCount) => {
    const busy = { status: 503, body: errorBody('HTTPFailed', 'later'), headers: { 'retry-after': wait } };
    const { pauses, fetchText } = await meet({ intercept: instead(exchange[0]!, busy) });
    await expect(fetchText()).rejects.toThrow(/status 503: later/);
    expect(pauses).toHaveLength(pauseCount);
  });

  it('can try again after a failure', async () => {
    const { fetchText } = await meet({ intercept: instead(exchange[0]!, { status: 500, body: '' }, 1) });
    await expect(fetchText()).rejects.toThrow(UnavailableError);
    expect(await fetchText()).toBe('the first secret');
  });
});

describe('what a broker says no to', () => {
  it.each<[string, string, number, string, new (...words: never[]) => Error]>([
    ['evidence', 'POST /kbs/v0/attest', 401, 'AttestationError', AttestationRefusedError],
    ['a version', 'POST /kbs/v0/auth', 401, 'AttestationError', AttestationRefusedError],
    ['a release', resource, 403, 'PolicyDeny', ReleaseRefusedError],
    ['a release, as Trustee says it', resource, 401, 'PolicyDeny', ReleaseRefusedError],
    ['a name', resource, 404, 'PluginInternalError', ResourceAbsentError],
    ['a name, as Trustee says it', resource, 401, 'PluginInternalError', ResourceAbsentError],
  ])('%s', async (_, route, status, variant, kind) => {
    const answer = { status, body: errorBody(variant, 'number \u001b[2J7\n') };
    const { server, fetchText } = await meet({ intercept: instead(route, answer) });
    const failed = await fetchText().catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(kind);
    if (kind !== ResourceAbsentError) expect((failed as Error).message).toMatch(/: number {2}?\[2J7$/);
    expect(server.requests.filter((asked) => asked === route)).toHaveLength(1);
  });

  it('is told in bounded words, and never asked again elsewhere', async () => {
    const { fetchText } = await meet({
      intercept: instead(resource, { status: 418, body: errorBody('PolicyDeny', 'x'.repeat(8000)) }),
    });
    const failed = (await fetchText().catch((error: unknown) => error)) as ReleaseRefusedError;
    expect(failed).toBeInstanceOf(ReleaseRefusedError);
    expect(failed.message.length).toBeLessThan(1200);
  });

  it('names no resource that is none', async () => {
    const { server, client } = await meet();
    await expect(client.getResource({ ...path, tag: '../../attest' })).rejects.toBeInstanceOf(MalformedError);
    expect(server.requests).toEqual([]);
  });
});

describe('a hostile broker', () => {
  const challenge = (value: unknown, setCookie: string | string[] = 'kbs-session-id=1'): FakeAnswer => ({
    status: 200,
    body: JSON.stringify(value),
    headers: { 'set-cookie': setCookie },
  });
  const nonce = Buffer.alloc(32, 7).toString('base64');
  const token = (claims: string) => ({
    status: 200,
    body: JSON.stringify({ token: `e30.${Buffer.from(claims).toString('base64url')}.AAAA` }),
  });

  it.each<[string, string, FakeAnswer, string]>([
    ['no JSON', exchange[0]!, { status: 200, body: '<html>' }, 'attestation challenge'],
    [
      'a member twice',
      exchange[0]!,
      { status: 200, body: `{"nonce":"","nonce":"${nonce}"}` },
      'a member twice',
    ],
    ['no nonce', exchange[0]!, challenge({}), '/nonce'],
    ['a nonce of another length', exchange[0]!, challenge({ nonce: 'AAAA' }), '/nonce'],
    ['a nonce that is no text', exchange[0]!, challenge({ nonce: [1] }), '/nonce'],
    ['a nonce with a line break', exchange[0]!, challenge({ nonce: `${nonce}\n` }), '/nonce'],
    ['no session', exchange[0]!, challenge({ nonce }, 'other=1'), 'Set-Cookie'],
    [
      'two sessions',
      exchange[0]!,
      challenge({ nonce }, ['kbs-session-id=1', 'kbs-session-id=2']),
      'kbs-session-id',
    ],
    ['a session without a name', exchange[0]!, challenge({ nonce }, 'kbs-session-id='), 'kbs-session-id'],
    ['a session with a space', exchange[0]!, challenge({ nonce }, 'kbs-session-id=a b'), 'kbs-session-id'],
    ['deep nesting', exchange[0]!, { status: 200, body: '['.repeat(100_000) }, 'deeper nesting'],
    ['no token', exchange[1]!, { status: 200, body: '{}' }, '/token'],
    ['a token that is none', exchange[1]!, { status: 200, body: '{"token":"abc"}' }, '/token'],
    ['a token of text', exchange[1]!, token('hello'), 'attestation token'],
    ['a token of a list', exchange[1]!, token('[]'), 'attestation token'],
    ['a token without an end', exchange[1]!, token('{"iat":1}'), 'exp'],
    ['a token that ended before it began', exchange[1]!, token('{"iat":2,"exp":1}'), 'exp'],
    ['an end in text', exchange[1]!, token('{"iat":1,"exp":"2"}'), 'exp'],
    ['a secret in the clear', resource, { status: 200, body: '"secret"' }, 'sealed secret'],
    ['nothing', resource, { status: 200, body: '' }, 'sealed secret'],
  ])('with %s is not believed', async (_, route, answer, place) => {
    const { server, fetchText } = await meet({ intercept: instead(route, answer) });
    const failed = await fetchText().catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(MalformedError);
    expect((failed as Error).message).toContain(place);
    expect(server.requests.filter((asked) => asked === route)).toHaveLength(1);
  });

  it('that seals to another key, or changes what was sealed, delivers nothing', async () => {
    const other = await startFakeBroker();
    const stranger = connectKeyBroker({
      address: other.address,
      device: device(),
      now: () => 0,
      pause: async () => undefined,
    });
    await stranger.getResource(path);
    let sealed = '';
    const { fetchText } = await meet({
      intercept: (route) => (route === resource && sealed !== '' ? { status: 200, body: sealed } : undefined),
    });
    const jwe = await sealedFor(other.keys[0]!);
    for (const change of [{}, { tag: jwe.iv + jwe.iv.slice(0, 6) }, { protected: 'e30' }]) {
      sealed = JSON.stringify({ ...jwe, ...change });
      await expect(fetchText()).rejects.toBeInstanceOf(MalformedError);
    }
  });

  it('that chooses another hash is refused', async () => {
    const answer = challenge({ nonce, 'extra-params': { 'selected-hash-algorithm': 'sha512' } });
    const { fetchText } = await meet({ intercept: instead(exchange[0]!, answer) });
    await expect(fetchText()).rejects.toThrow('expected SHA-384');
  });

  it.each([...exchange, resource])('that sends elsewhere is not followed: %s', async (route) => {
    const elsewhere = await startFakeBroker();
    for (const status of [301, 302, 303, 307, 308]) {
      const answer = { status, body: '', headers: { location: `${elsewhere.address}/kbs/v0/auth` } };
      const { fetchText } = await meet({ intercept: instead(route, answer) });
      await expect(fetchText()).rejects.toThrow(`it sends elsewhere (status ${status})`);
    }
    expect(elsewhere.requests).toEqual([]);
  });

  it.each([200, 401, 500])('that answers %d without end is cut off', async (status) => {
    const answer = { status, body: new Uint8Array(3 * 1024 * 1024).fill(0x20) };
    const { fetchText } = await meet({ intercept: instead(exchange[0]!, answer) });
    await expect(fetchText()).rejects.toThrow('more than 2097152 bytes');
  });

  it('that answers in no text is refused', async () => {
    const answer = { status: 200, body: Uint8Array.of(0x22, 0xff, 0x22) };
    const { fetchText } = await meet({ intercept: instead(exchange[0]!, answer) });
    await expect(fetchText()).rejects.toThrow('its answer is not text');
  });

  it('that says nothing is not waited for', async () => {
    const { pauses, fetchText } = await meet(
      { intercept: instead(exchange[0]!, 'say nothing') },
      { timeout: 30, attempts: 2 },
    );
    await expect(fetchText()).rejects.toThrow('no answer within 0.03 seconds');
    expect(pauses).toEqual([1000]);
  });

  it.each([
    ['a page', { status: 502, body: '<html>' }],
    ['an error of no shape', { status: 400, body: '{"type":1}' }],
  ])('that fails with %s is unavailable', async (_, answer) => {
    const { fetchText } = await meet({ intercept: instead(exchange[1]!, answer) });
    await expect(fetchText()).rejects.toBeInstanceOf(UnavailableError);
    await expect(fetchText()).rejects.toThrow(`status ${answer.status}`);
  });

  it('is not there', async () => {
    const { fetchText, pauses } = await meet({}, { address: 'http://127.0.0.1:1', attempts: 3 });
    await expect(fetchText()).rejects.toBeInstanceOf(UnavailableError);
    expect(pauses).toEqual([1000, 2000]);
  });
});

describe('an attestation device that gives another report', () => {
  it.each<[string, () => Promise<Uint8Array>, new (...words: never[]) => Error]>([
    ['over other data', () => makeReport(chipKey), UnavailableError],
    ['of no form', async () => new Uint8Array(1184), MalformedError],
  ])('%s, is not sent on', async (_, report, kind) => {
    const { server, fetchText } = await meet(
      {},
      { device: { report: async () => ({ report: await report() }) } },
    );
    await expect(fetchText()).rejects.toBeInstanceOf(kind);
    expect(server.requests).toEqual([exchange[0]]);
  });
});

describe('a server is known', () => {
  it('by its authority, or by the fingerprint of its certificate', async () => {
    const server = await startFakeBroker({ tls: true });
    const { pem, fingerprint } = server.certificate!;
    for (const trust of [{ authorities: pem }, { certificateFingerprint: fingerprint }]) {
      const { fetchText } = await meet({}, { address: server.address, trust });
      expect(await fetchText()).toBe('the first secret');
    }
  });

  it('and sent nothing when it is another', async () => {
    const server = await startFakeBroker({ tls: true });
    const other = await startFakeBroker({ tls: true });
    const stranger = other.certificate!;
    for (const [trust, message] of [
      [{}, /self.signed certificate/],
      [{ authorities: stranger.pem }, /self.signed|unable to verify/],
      [{ certificateFingerprint: stranger.fingerprint }, /its certificate is another one/],
    ] as const) {
      const { fetchText } = await meet({}, { address: server.address, trust });
      await expect(fetchText()).rejects.toThrow(message);
      await expect(fetchText()).rejects.toBeInstanceOf(UnavailableError);
    }
    const { fetchText } = await meet(
      {},
      {
        address: server.address.replace('127.0.0.1', 'localhost'),
        trust: { authorities: server.certificate!.pem },
      },
    );
    await expect(fetchText()).rejects.toThrow(/no TLS connection|altnames|does not match/);
    expect(server.requests).toEqual([]);
  });

  it('by the key that signs its tokens', async () => {
    const server = await startFakeBroker();
    const { address } = server;
    const { fetchText } = await meet({}, { address, tokenKeys: ['other', server.thumbprint] });
    expect(await fetchText()).toBe('the first secret');
    const { fetchText: refused } = await meet({}, { address, tokenKeys: ['A'.repeat(43)] });
    await expect(refused()).rejects.toThrow('not signed by a key that is pinned');
    expect(server.requests.filter((route) => route === resource)).toHaveLength(1);
  });

  it('not while it does not publish its keys', async () => {
    const jwks = 'GET /.well-known/jwks.json';
    for (const [answer, message] of [
      [{ status: 500, body: '' }, '/.well-known/jwks.json: status 500'],
      [{ status: 200, body: '{"keys":[],"keys":[]}' }, 'a member twice'],
      [{ status: 200, body: '{"keys":7}' }, 'JWK set: keys'],
      [{ status: 200, body: '{"keys":[7,{"kty":"EC"}]}' }, 'not signed by a key that is pinned'],
    ] as const) {
      const server = await startFakeBroker({ intercept: instead(jwks, answer) });
      const guest = await meet({}, { address: server.address, tokenKeys: [server.thumbprint] });
      await expect(guest.fetchText()).rejects.toThrow(message);
      expect(server.requests).not.toContain(resource);
    }
  });

  it('not by a token that it got for another guest, or did not sign', async () => {
    const forOther = (claims: Record<string, unknown>) => ({ ...claims, submods: {} });
    const server = await startFakeBroker({ claims: forOther });
    const { fetchText } = await meet({}, { address: server.address, tokenKeys: [server.thumbprint] });
    await expect(fetchText()).rejects.toThrow('made for another guest key');

    const forged = Buffer.from('{"alg":"ES256","kid":"one"}').toString('base64url');
    const none = Buffer.from('{"alg":"none","kid":"one"}').toString('base64url');
    for (const [head, message] of [
      [forged, 'not signed by a key that is pinned'],
      [none, 'expected ES256'],
    ] as const) {
      const answer = { status: 200, body: JSON.stringify({ token: `${head}.eyJpYXQiOjEsImV4cCI6Mn0.AAAA` }) };
      const hostile = await startFakeBroker({ intercept: instead(exchange[1]!, answer) });
      const guest = await meet({}, { address: hostile.address, tokenKeys: [hostile.thumbprint] });
      await expect(guest.fetchText()).rejects.toThrow(message);
    }
  });

  it.each<[string, Partial<KeyBrokerOptions>]>([
    ['plain HTTP to another machine', { address: 'http://192.0.2.1:8080' }],
    ['plain HTTP to a name that only begins so', { address: 'http://127.0.0.1.example.org' }],
    ['another scheme', { address: 'ftp://broker' }],
    ['no address', { address: 'broker' }],
    ['a user', { address: 'https://user@broker' }],
    ['a password', { address: 'https://:pass@broker' }],
    ['a fragment', { address: 'https://broker/#a' }],
    ['a query', { address: 'https://broker/?a=1' }],
    ['a pin without TLS', { address: 'http://127.0.0.1', trust: { authorities: 'x' } }],
    [
      'two pins',
      { address: 'https://b', trust: { authorities: 'x', certificateFingerprint: new Uint8Array(32) } },
    ],
    ['half a pin', { address: 'https://b', trust: { certificateFingerprint: new Uint8Array(20) } }],
  ])('never with %s', (_, options) => {
    const connect = () =>
      connectKeyBroker({
        address: 'https://b',
        device: device(),
        now: () => 0,
        pause: async () => undefined,
        ...options,
      });
    expect(connect).toThrow(InvalidArgumentError);
  });
});

function sealedFor(key: TeeKey) {
  return sealToTeeKey(Secret.take(new TextEncoder().encode('a secret of somebody else')), key);
}

import { request } from 'node:http';
import { concat, parseRevocationList } from '@vouchsafe/sev';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createKdsClient, NotCachedError } from './client.js';
import { createMirror, type MirrorOptions } from './mirror.js';
import { ThrottledError } from './request.js';
import { serveKds } from './server.js';
import { endorsementPath, vcekRequest } from './snp/endorsement-request.js';
import { makeChip } from './testing/chip.js';
import { countedService } from './testing/counted-service.js';
import { chipIdOf, endorsedChip, testClock } from './testing/snp-chip.js';
import { temporaryFolder } from './testing/temporary.js';

/** AMD, so to speak; a mirror of it; and a client of the mirror. */
async function mirrored(options: Partial<MirrorOptions> = {}) {
  const clock = testClock();
  const made = await endorsedChip('Milan', { now: clock.now });
  const upstream = await countedService(made.authority);
  const cacheFolder = temporaryFolder();
  const sleep = async () => undefined;
  const mirror = createMirror({ baseUrl: upstream.url, cacheFolder, now: clock.now, sleep, ...options });
  const server = await serveKds(mirror, { browsers: true });
  onTestFinished(() => server.close());
  const client = () => createKdsClient({ baseUrl: server.url, now: clock.now, attempts: 1 });
  return { ...made, clock, upstream, cacheFolder, server, client };
}

describe('a mirror', () => {
  test('asks once for what a fleet wants, and serves it from then on', async () => {
    const { client, chip, vcek, snp, upstream, authority } = await mirrored({ missesPerMinute: 4 });
    const fleet = await Promise.all(Array.from({ length: 8 }, () => client().vcek(chip)));
    for (const each of fleet) expect(each).toEqual(vcek);
    expect(await client().certificateChain('VCEK', 'Milan')).toEqual([snp.ask, snp.ark]);
    expect(await client().certificateChain('VCEK', 'Milan')).toEqual([snp.ask, snp.ark]);
    expect(upstream.requests).toEqual([endorsementPath(vcekRequest(chip)), '/vcek/v1/Milan/cert_chain']);
    const older = await makeChip();
    const cek = await authority.endorse(older.id, older.cek);
    expect(await client().cek(older.id)).toEqual(cek);
    expect(await client().askArk('milan')).toEqual(concat(authority.ask, authority.ark));
  });

  test('passes a revocation list on until its next update, then asks again', async () => {
    const { client, clock, upstream } = await mirrored();
    const first = await client().revocationList('VCEK', 'Milan');
    clock.set(parseRevocationList(first).nextUpdate! - 1);
    expect(await client().revocationList('VCEK', 'Milan')).toEqual(first);
    clock.pass(1);
    expect(await client().revocationList('VCEK', 'Milan')).not.toEqual(first);
    expect(upstream.requests).toHaveLength(2);
  });

  test('offline serves what it holds, and asks nobody', async () => {
    const { client, chip, vcek, cacheFolder, upstream, clock } = await mirrored();
    await client().vcek(chip);
    const mirror = createMirror({ baseUrl: upstream.url, cacheFolder, now: clock.now, offline: true });
    expect(await mirror.findEndorsement!(vcekRequest(chip))).toEqual(vcek);
    expect(await mirror.findEndorsement!({ what: 'chain', kind: 'VCEK', line: 'Milan' })).toBeUndefined();
    expect(await mirror.findAskArk('milan')).toBeUndefined();
    expect(upstream.requests).toHaveLength(1);
  });

  test('does not ask twice for what its service does not know, for ten minutes', async () => {
    const { client, chip, clock, upstream } = await mirrored();
    const stranger = { ...chip, chipId: chipIdOf('Milan') };
    for (let i = 0; i < 3; i++) await expect(client().vcek(stranger)).rejects.toThrow(/404/);
    expect(upstream.requests).toHaveLength(1);
    clock.pass(10 * 60_000);
    await expect(client().vcek(stranger)).rejects.toThrow(/404/);
    expect(upstream.requests).toHaveLength(2);
  });

  test('passes on no more questions than it may, and says when to come back', async () => {
    const { client, chip, vcek, clock, upstream } = await mirrored({ missesPerMinute: 3 });
    await client().vcek(chip);
    for (let i = 0; i < 2; i++) {
      await expect(client().vcek({ ...chip, chipId: chipIdOf('Milan') })).rejects.toThrow(/404/);
    }
    const error = await client()
      .vcek({ ...chip, chipId: chipIdOf('Milan') })
      .catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(ThrottledError);
    expect((error as ThrottledError).retryAfterSeconds).toBe(20);
    expect(await client().vcek(chip)).toEqual(vcek);
    expect(upstream.requests).toHaveLength(3);
    clock.pass(20_000);
    await expect(client().vcek({ ...chip, chipId: chipIdOf('Milan') })).rejects.toThrow(/404/);
    clock.set(0);
    await expect(client().vcek({ ...chip, chipId: chipIdOf('Milan') })).rejects.toBeInstanceOf(
      ThrottledError,
    );
    expect(upstream.requests).toHaveLength(4);
  });

  test('tells of a service that throttles it, and of one that fails', async () => {
    const { client, chip, upstream } = await mirrored();
    upstream.scripted.push({ status: 429, headers: { 'retry-after': '300' } });
    const error = await client()
      .vcek(chip)
      .catch((caught: unknown) => caught);
    expect((error as ThrottledError).retryAfterSeconds).toBe(300);
    upstream.scripted.push({ status: 500 });
    await expect(client().vcek(chip)).rejects.toThrow(/answered 502/);
  });

  test('keeps nothing that is not what was asked for', async () => {
    const { client, chip, vcek, snp, upstream } = await mirrored();
    upstream.scripted.push({ status: 200, body: snp.ask });
    await expect(client().vcek(chip)).rejects.toThrow(/answered 502/);
    expect(await client().vcek(chip)).toEqual(vcek);
  });

  test('has no VLEKs to give', async () => {
    const { client, chip, upstream } = await mirrored();
    const { tcb } = chip;
    await expect(client().endorsement({ what: 'vlek', line: 'Milan', tcb })).rejects.toThrow(/404/);
    expect(upstream.requests).toEqual([]);
  });

  test('without a cache of its own is as empty as it was told', async () => {
    const mirror = createMirror({ cacheFolder: temporaryFolder(), offline: true });
    expect(await mirror.findCek(new Uint8Array(64))).toBeUndefined();
    expect(new NotCachedError('x').hint).toMatch(/kds fetch/);
  });
});

/** Asks with the path as it stands: `fetch` would tidy it first. */
function ask(url: string, path: string, method = 'GET', headers: Record<string, string> = {}) {
  return new Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; body: string }>(
    (resolve, reject) => {
      const { hostname, port } = new URL(url);
      const sent = request({ hostname, port, path, method, headers }, (response) => {
        let body = '';
        response.on('data', (part: Uint8Array) => {
          body += new TextDecoder('latin1').decode(part);
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        );
      });
      sent.on('error', reject);
      sent.end();
    },
  );
}

describe('on the wire', () => {
  test('a web page of any origin may ask and read, and is told so before', async () => {
    const { server, chip } = await mirrored();
    const origin = { origin: 'https://verifier.example', 'access-control-request-method': 'GET' };
    const preflight = await ask(server.url, endorsementPath(vcekRequest(chip)), 'OPTIONS', origin);
    expect(preflight.status).toBe(204);
    expect(preflight.headers).toMatchObject({
      'access-control-allow-origin': '*',
      'access-control-allow-methods': 'GET, OPTIONS',
    });
    for (const path of [endorsementPath(vcekRequest(chip)), '/vcek/v1/Genoa/crl', '/nowhere']) {
      const answer = await ask(server.url, path, 'GET', origin);
      expect(answer.headers['access-control-allow-origin']).toBe('*');
      expect(answer.headers['access-control-expose-headers']).toBe('retry-after');
    }
  });

  test('unless browsers are allowed, nothing is said of them', async () => {
    const { authority } = await endorsedChip('Milan');
    const server = await serveKds(authority);
    onTestFinished(() => server.close());
    const answer = await ask(server.url, '/vcek/v1/Milan/crl');
    expect(answer.status).toBe(200);
    expect(answer.headers['access-control-allow-origin']).toBeUndefined();
    expect((await ask(server.url, '/vcek/v1/Milan/crl', 'OPTIONS')).status).toBe(404);
  });

  test('certificates, chains and lists have their types, and lists are for no browser’s cache', async () => {
    const { server, chip } = await mirrored();
    const answers = await Promise.all(
      [endorsementPath(vcekRequest(chip)), '/vcek/v1/Milan/cert_chain', '/vcek/v1/Milan/crl'].map((path) =>
        ask(server.url, path),
      ),
    );
    expect(answers.map(({ headers }) => [headers['content-type'], headers['cache-control']])).toEqual([
      ['application/octet-stream', undefined],
      ['application/x-pem-file', undefined],
      ['application/octet-stream', 'no-store'],
    ]);
  });

  test.each([
    ['another host', 'http://example.com/vcek/v1/Milan/crl'],
    ['a path out', '/vcek/v1/Milan/../../cek/id'],
    ['an encoded path out', '/vcek/v1/%2e%2e/Milan/crl'],
    ['an escape', '/vcek/v1/Milan/cr%6c'],
    ['a product that is none', '/vcek/v1/Rome/cert_chain'],
    ['a query on a list', '/vcek/v1/Milan/crl?fresh'],
    ['AMD’s other interfaces', '/vlek/v1/Milan/hash_sticks'],
    ['a chip in other digits', `/vcek/v1/Milan/${'zz'.repeat(64)}?blSPL=1&teeSPL=1&snpSPL=1&ucodeSPL=1`],
    ['the cache', '/vcek_v1_Milan_cert_chain.pem'],
    ['a long path', `/vcek/v1/Milan/${'a'.repeat(4000)}`],
  ])('%s is not known there, and is asked of nobody', async (_name, path) => {
    const { server, upstream } = await mirrored();
    const answer = await ask(server.url, path);
    expect([answer.status, answer.body]).toEqual([404, 'not known here\n']);
    for (const method of ['POST', 'PUT', 'DELETE', 'HEAD'])
      expect((await ask(server.url, '/vcek/v1/Milan/crl', method)).status).toBe(404);
    expect(upstream.requests).toEqual([]);
  });
});

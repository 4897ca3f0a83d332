import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { concat, type Generation, generations, systemRandom, toHex, UnavailableError } from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import { describeWithVectors, vectors } from '../../sev/src/testing/vectors.js';
import { createKdsClient, NotCachedError } from './client.js';
import { openDevelopmentAuthority } from './development-authority.js';
import { cekPath } from './key-service.js';
import type { Fetch } from './request.js';
import { testAuthorityKeys } from './testing/authority-keys.js';
import { makeChip } from './testing/chip.js';
import { countedService } from './testing/counted-service.js';
import { temporaryFolder } from './testing/temporary.js';

const authorityOf = (generation: Generation) =>
  openDevelopmentAuthority({ folder: temporaryFolder(), generation, generateKeys: testAuthorityKeys });

/** A client that notes how long it was asked to wait, and does not wait. */
function clientOf(baseUrl: string, options: Partial<Parameters<typeof createKdsClient>[0]> = {}) {
  const pauses: number[] = [];
  const client = createKdsClient({
    baseUrl,
    sleep: async (milliseconds) => void pauses.push(milliseconds),
    now: () => Date.parse('2026-11-22T00:00:00Z'),
    ...options,
  });
  return { client, pauses };
}

const refuseNetwork: Fetch = async () => {
  throw new Error('the network was touched');
};

describe('a client of the key service', () => {
  test.each(generations)(
    'fetches CEK, ASK and ARK of %s, and finds who signed the CEK',
    async (generation) => {
      const authority = await authorityOf(generation);
      const chip = await makeChip();
      const signed = await authority.endorse(chip.id, chip.cek);
      const { url } = await countedService(authority);
      const { client } = clientOf(url);
      expect(await client.cek(chip.id, { exported: chip.cek })).toEqual(signed);
      const bundle = concat(authority.ask, authority.ark);
      expect(await client.askArk(generation)).toEqual(bundle);
      expect(await client.issuerOf(signed)).toEqual({ generation, askArk: bundle });
    },
  );

  test('asks in the form of AMD’s service: 128 lower-case digits, and the bundle by generation', async () => {
    const { url, requests } = await countedService();
    const { client } = clientOf(`${url}/`);
    await expect(client.cek(new Uint8Array(64).fill(0xab))).rejects.toThrow(/404/);
    await expect(client.askArk('milan')).rejects.toThrow(/404/);
    await expect(client.askArk('turin')).rejects.toThrow(/404/);
    expect(requests).toEqual([
      `/cek/id/${'ab'.repeat(64)}`,
      '/developer/eula/sev/ask_ark_milan.cert',
      '/developer/eula/sev/ask_ark_turin.cert',
      '/developer/eula/sev/ask_ark_prod_turin.cert',
    ]);
  });

  test('asks AMD’s two hosts when no service is named', async () => {
    const asked: string[] = [];
    const client = createKdsClient({
      fetch: async (address) => {
        asked.push(address);
        return new Response(null, { status: 404 });
      },
    });
    await expect(client.cek(new Uint8Array(64))).rejects.toBeInstanceOf(UnavailableError);
    await expect(client.askArk('genoa')).rejects.toBeInstanceOf(UnavailableError);
    expect(asked).toEqual([
      `https://kdsintf.amd.com/cek/id/${'00'.repeat(64)}`,
      'https://download.amd.com/developer/eula/sev/ask_ark_genoa.cert',
    ]);
  });

  test('refuses chip ids and addresses that are none, before asking', async () => {
    const { client } = clientOf('http://127.0.0.1:1', { fetch: refuseNetwork });
    await expect(client.cek(new Uint8Array(128))).rejects.toThrow(/expected 64 bytes, found 128/);
    for (const baseUrl of ['file:///etc', 'nowhere', 'http://user:word@host', 'http://host?x']) {
      expect(() => createKdsClient({ baseUrl })).toThrow(/key service/);
    }
  });

  test('an unreachable service is a clear error', async () => {
    const { client } = clientOf('http://127.0.0.1:1');
    const error = await client.askArk('milan').catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(UnavailableError);
    expect((error as UnavailableError).hint).toMatch(/network/);
  });
});

describe('what the service sends', () => {
  test('an answer for another chip is refused, not kept, and asked for again', async () => {
    const authority = await authorityOf('naples');
    const [mine, other] = [await makeChip(), await makeChip()];
    const signed = await authority.endorse(mine.id, mine.cek);
    const wrong = await authority.endorse(other.id, other.cek);
    const { url, requests, scripted } = await countedService(authority);
    const { client } = clientOf(url, { cacheFolder: temporaryFolder() });
    scripted.push({ status: 200, body: wrong });
    await expect(client.cek(mine.id, { exported: mine.cek })).rejects.toThrow(/another chip's/);
    expect(await client.cek(mine.id, { exported: mine.cek })).toEqual(signed);
    expect(requests).toHaveLength(2);
  });

  test('a wrong CEK that was kept, because nobody compared it, is replaced when somebody does', async () => {
    const authority = await authorityOf('naples');
    const [mine, other] = [await makeChip(), await makeChip()];
    const signed = await authority.endorse(mine.id, mine.cek);
    const wrong = await authority.endorse(other.id, other.cek);
    const { url, scripted } = await countedService(authority);
    const { client } = clientOf(url, { cacheFolder: temporaryFolder() });
    scripted.push({ status: 200, body: wrong });
    expect(await client.cek(mine.id)).toEqual(wrong);
    expect(await client.cek(mine.id, { exported: mine.cek })).toEqual(signed);
  });

  test.each<
    [string, (given: { signed: Uint8Array; unsigned: Uint8Array; ask: Uint8Array }) => Uint8Array, RegExp]
  >([
    ['nothing', () => new Uint8Array(), /2084 bytes/],
    ['a short certificate', ({ signed }) => signed.slice(0, 2083), /2084 bytes/],
    ['a long certificate', ({ signed }) => concat(signed, new Uint8Array(1)), /2084 bytes/],
    ['a web page', () => new TextEncoder().encode('<html>'), /2084 bytes/],
    ['an ASK', ({ ask }) => ask, /2084 bytes/],
    ['a CEK that nobody signed', ({ unsigned }) => unsigned, /no ASK signed/],
    ['a PEK that an ASK signed', ({ signed }) => signed.with(8, 0x02), /usage PEK/],
    ['reserved bytes that are set', ({ signed }) => signed.with(6, 1), /reserved/],
    ['more than any certificate has', () => new Uint8Array(70_000), /more than 65536 bytes/],
  ])('%s is no CEK', async (_name, make, message) => {
    const authority = await authorityOf('naples');
    const chip = await makeChip();
    const signed = await authority.endorse(chip.id, chip.cek);
    const { url, scripted } = await countedService(authority);
    scripted.push({ status: 200, body: make({ signed, unsigned: chip.cek, ask: authority.ask }) });
    const failure = clientOf(url).client.cek(chip.id);
    await expect(failure).rejects.toBeInstanceOf(UnavailableError);
    await expect(failure).rejects.toThrow(message);
  });

  test('a bundle of another generation, in another order or mixed is refused', async () => {
    const [milan, rome, naples] = await Promise.all([
      authorityOf('milan'),
      authorityOf('rome'),
      authorityOf('naples'),
    ]);
    const { url, scripted } = await countedService();
    const { client } = clientOf(url);
    const served = async (body: Uint8Array) => {
      scripted.push({ status: 200, body });
      return client.askArk('milan');
    };
    await expect(served(concat(naples.ask, naples.ark))).rejects.toThrow(/1664 bytes where 3200/);
    await expect(served(concat(milan.ark, milan.ask))).rejects.toThrow(/ARK and ASK, in that order/);
    await expect(served(concat(rome.ask, rome.ark))).rejects.toThrow(/Development ASK, Rome/);
    await expect(served(concat(milan.ask, rome.ark))).rejects.toThrow(/names another key as its signer/);
    await expect(served(concat(milan.ask, milan.ark).with(0, 2))).rejects.toThrow(/version/);
    expect(await served(concat(milan.ask, milan.ark))).toEqual(concat(milan.ask, milan.ark));
  });
});

describeWithVectors('AMD’s own files', () => {
  const ofAmd = (generation: Generation) =>
    concat(vectors(`sev/ca/${generation}/ask.cert`), vectors(`sev/ca/${generation}/ark.cert`));

  test.each(generations)('ASK and ARK of %s are accepted as served', async (generation) => {
    const { url, scripted } = await countedService();
    scripted.push({ status: 200, body: ofAmd(generation) });
    expect(await clientOf(url).client.askArk(generation)).toEqual(ofAmd(generation));
  });

  test('the Naples bundle, published without the ARK’s signature, is completed', async () => {
    const { url, scripted } = await countedService();
    const published = concat(vectors('sev/ca/naples/ask.cert'), vectors('sev/naples/ark.cert.bad'));
    scripted.push({ status: 200, body: published });
    expect(await clientOf(url).client.askArk('naples')).toEqual(ofAmd('naples'));
  });

  test('the CEK of a real chip leads to Naples', async () => {
    const { url, scripted } = await countedService();
    scripted.push({ status: 200, body: ofAmd('naples') });
    const issuer = await clientOf(url).client.issuerOf(vectors('sev/naples/cek.cert'));
    expect(issuer.generation).toBe('naples');
  });

  test('a CEK that no served ASK signed has no issuer', async () => {
    const { url } = await countedService(await authorityOf('naples'));
    await expect(clientOf(url).client.issuerOf(vectors('sev/naples/cek.cert'))).rejects.toThrow(/no ASK/);
  });
});

describe('patience', () => {
  test.each<[string, string | undefined, number]>([
    ['seconds', '7', 7000],
    ['a date', 'Sun, 22 Nov 2026 00:00:30 GMT', 30_000],
    ['a date that has passed', 'Sun, 22 Nov 2026 00:00:00 GMT', 0],
    ['nothing', undefined, 10_000],
    ['something unreadable', 'soon', 10_000],
  ])('429 with %s in Retry-After is honoured', async (_name, retryAfter, pause) => {
    const authority = await authorityOf('naples');
    const { url, scripted } = await countedService(authority);
    scripted.push({ status: 429, headers: retryAfter === undefined ? {} : { 'retry-after': retryAfter } });
    const { client, pauses } = clientOf(url);
    expect(await client.askArk('naples')).toEqual(concat(authority.ask, authority.ark));
    expect(pauses).toEqual([pause]);
  });

  test('four tries in all, then a clear error', async () => {
    const { url, requests, scripted } = await countedService();
    for (let i = 0; i < 9; i++) scripted.push({ status: 429, headers: { 'retry-after': '1' } });
    const { client, pauses } = clientOf(url);
    await expect(client.askArk('naples')).rejects.toThrow(/fewer requests \(429\), 4 tried/);
    expect(requests).toHaveLength(4);
    expect(pauses).toHaveLength(3);
  });

  test('a service that wants a long pause is not waited for', async () => {
    const { url, requests, scripted } = await countedService();
    scripted.push({ status: 429, headers: { 'retry-after': '3600' } });
    const { client, pauses } = clientOf(url);
    const error = await client.askArk('naples').catch((caught: unknown) => caught);
    expect((error as UnavailableError).hint).toMatch(/3600 seconds/);
    expect(requests).toHaveLength(1);
    expect(pauses).toEqual([]);
  });

  test('other failures are not tried again', async () => {
    const { url, requests, scripted } = await countedService();
    scripted.push({ status: 500 });
    await expect(clientOf(url).client.askArk('naples')).rejects.toThrow(/answered 500/);
    expect(requests).toHaveLength(1);
  });

  test('callers that ask at the same time share one request', async () => {
    const authority = await authorityOf('naples');
    const { url, requests } = await countedService(authority);
    const { client } = clientOf(url);
    const answers = await Promise.all(Array.from({ length: 8 }, () => client.askArk('naples')));
    expect(requests).toHaveLength(1);
    answers[0]!.fill(0);
    expect(answers[1]).toEqual(concat(authority.ask, authority.ark));
  });

  test('a failure is not shared with those who ask later', async () => {
    const authority = await authorityOf('naples');
    const { url, scripted } = await countedService(authority);
    const { client } = clientOf(url);
    scripted.push({ status: 500 });
    await expect(Promise.all([client.askArk('naples'), client.askArk('naples')])).rejects.toThrow(/500/);
    expect(await client.askArk('naples')).toEqual(concat(authority.ask, authority.ark));
  });
});

describe('the cache', () => {
  const prepared = async () => {
    const authority = await authorityOf('naples');
    const chip = await makeChip();
    const signed = await authority.endorse(chip.id, chip.cek);
    const service = await countedService(authority);
    const cacheFolder = join(temporaryFolder(), 'cache');
    const client = () => clientOf(service.url, { cacheFolder }).client;
    const folder = join(cacheFolder, service.url.replace(/[^A-Za-z0-9.-]+/g, '_'));
    return { authority, chip, signed, service, cacheFolder, client, folder };
  };

  test('what it holds is not asked for again, by this client or the next, online or not', async () => {
    const { chip, signed, service, cacheFolder, client } = await prepared();
    const first = client();
    await first.cek(chip.id);
    await first.cek(chip.id);
    await client().cek(chip.id);
    expect(service.requests).toEqual([cekPath(chip.id)]);
    const offline = createKdsClient({
      baseUrl: service.url,
      cacheFolder,
      offline: true,
      fetch: refuseNetwork,
    });
    expect(await offline.cek(chip.id)).toEqual(signed);
  });

  test('bundles are kept too', async () => {
    const { authority, service, cacheFolder, client } = await prepared();
    await client().askArk('naples');
    await client().askArk('naples');
    expect(service.requests).toHaveLength(1);
    const offline = createKdsClient({
      baseUrl: service.url,
      cacheFolder,
      offline: true,
      fetch: refuseNetwork,
    });
    expect(await offline.askArk('naples')).toEqual(concat(authority.ask, authority.ark));
  });

  test('offline, what it does not hold is unavailable, and the network is not touched', async () => {
    const client = createKdsClient({ offline: true, fetch: refuseNetwork, cacheFolder: temporaryFolder() });
    await expect(client.cek(systemRandom(64))).rejects.toBeInstanceOf(NotCachedError);
    await expect(client.askArk('turin')).rejects.toBeInstanceOf(NotCachedError);
  });

  test('folder and files are for this user only, and the sums are those of sha256sum', async () => {
    const { chip, client, cacheFolder, folder } = await prepared();
    await client().cek(chip.id);
    for (const each of [cacheFolder, folder]) expect(statSync(each).mode & 0o777).toBe(0o700);
    const name = `cek_${toHex(chip.id)}.cert`;
    expect(readdirSync(folder).sort()).toEqual([name, `${name}.sha256`]);
    for (const each of readdirSync(folder)) expect(statSync(join(folder, each)).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(folder, `${name}.sha256`), 'utf8')).toMatch(
      new RegExp(`^[0-9a-f]{64} {2}${name}\n$`),
    );
  });

  test('a damaged entry is noticed and fetched again', async () => {
    const { chip, signed, client, folder, service } = await prepared();
    await client().cek(chip.id);
    const file = join(folder, `cek_${toHex(chip.id)}.cert`);
    // A bit of the signature: no parser could see it.
    writeFileSync(file, signed.with(0x500, signed[0x500]! ^ 1));
    expect(await client().cek(chip.id)).toEqual(signed);
    writeFileSync(file, signed.slice(0, 100));
    expect(await client().cek(chip.id)).toEqual(signed);
    writeFileSync(`${file}.sha256`, '');
    expect(await client().cek(chip.id)).toEqual(signed);
    expect(service.requests).toHaveLength(4);
    expect(Uint8Array.from(readFileSync(file))).toEqual(signed);
  });

  test('two services do not share entries', async () => {
    const [one, two] = await Promise.all([authorityOf('milan'), authorityOf('milan')]);
    const cacheFolder = temporaryFolder();
    const chip = await makeChip();
    const [first, second] = [await countedService(one), await countedService(two)];
    const signed = await one.endorse(chip.id, chip.cek);
    expect(await clientOf(first.url, { cacheFolder }).client.cek(chip.id)).toEqual(signed);
    await expect(clientOf(second.url, { cacheFolder }).client.cek(chip.id)).rejects.toThrow(/404/);
  });

  test('a folder that cannot be used is a clear error', async () => {
    const { chip, service } = await prepared();
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    const { client } = clientOf(service.url, { cacheFolder: file });
    await expect(client.cek(chip.id)).rejects.toThrow(/cache folder/);
  });
});

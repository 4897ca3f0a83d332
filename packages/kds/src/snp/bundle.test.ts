import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MalformedError, toBase64, toHex, UnavailableError } from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import { createKdsClient, NotCachedError } from '../client.js';
import { countedService } from '../testing/counted-service.js';
import { chipIdOf, day, endorsedChip, misnamed, type SnpLine, testClock } from '../testing/snp-chip.js';
import { temporaryFolder } from '../testing/temporary.js';
import { exportBundle, importEntries, readBundle, writeBundle } from './bundle.js';
import { endorsementPath, vcekRequest } from './endorsement-request.js';
import { requestsForReport } from './report-requests.js';
import { readTrusteeStore } from './trustee-store.js';

async function prepared(line: SnpLine = 'Milan') {
  const clock = testClock();
  const made = await endorsedChip(line, { now: clock.now });
  const service = await countedService(made.authority);
  const online = createKdsClient({ baseUrl: service.url, now: clock.now });
  const offline = () =>
    createKdsClient({ baseUrl: service.url, now: clock.now, offline: true, cacheFolder: temporaryFolder() });
  const signerInfo = { authorKeyEnabled: false, maskChipKey: false, signingKey: 'VCEK' } as const;
  const { chip } = made;
  const { vek, chain, crl } = requestsForReport({ ...chip, reportedTcb: chip.tcb, signerInfo });
  return { ...made, clock, service, online, offline, requests: [vek!, chain, crl] };
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytesOf = (value: string) => new TextEncoder().encode(value);

describe('a bundle', () => {
  test('takes endorsements from one machine to another that has no network', async () => {
    const { online, offline, requests, vcek, snp, chip, clock } = await prepared('Turin');
    const bundle = await exportBundle(online, [...requests, ...requests]);
    expect(bundle.missing).toEqual([]);
    const client = offline();
    await expect(client.vcek(chip)).rejects.toBeInstanceOf(NotCachedError);
    const result = await importEntries(client, await readBundle(bundle.bytes), clock.now());
    expect(result.kept.map(endorsementPath)).toEqual(requests.map(endorsementPath).sort());
    expect(await client.vcek(chip)).toEqual(vcek);
    expect(await client.certificateChain('VCEK', 'Turin')).toEqual([snp.ask, snp.ark]);
    expect(await client.revocationList('VCEK', 'Turin')).toEqual(
      await snp.findEndorsement({ what: 'crl', kind: 'VCEK', line: 'Turin' }),
    );
    expect((await exportBundle(client, requests)).bytes).toEqual(bundle.bytes);
  });

  test('says what was not there', async () => {
    const { online, offline, requests, chip } = await prepared();
    const stranger = vcekRequest({ ...chip, chipId: chipIdOf('Milan') });
    const bundle = await exportBundle(online, [stranger, requests[1]!]);
    expect(bundle.requests).toEqual([requests[1]]);
    expect(bundle.missing).toMatchObject([{ request: stranger, reason: expect.stringMatching(/404/) }]);
    const nothing = await exportBundle(offline(), requests);
    expect(nothing.missing).toHaveLength(3);
    expect(await readBundle(nothing.bytes)).toEqual([]);
  });

  test('does not bring a stale list back, nor an older one', async () => {
    const { online, offline, requests, clock, snp } = await prepared();
    const old = await readBundle((await exportBundle(online, requests)).bytes);
    clock.pass(day);
    await snp.revoke('ASK');
    const newer = [
      { request: requests[2]!, bytes: await online.endorsement(requests[2]!, { refresh: true }) },
    ];
    const client = offline();
    await importEntries(client, newer, clock.now());
    await importEntries(client, old, clock.now());
    expect(await client.revocationList('VCEK', 'Milan')).toEqual(newer[0]!.bytes);
    clock.pass(8 * day);
    const late = await importEntries(offline(), old, clock.now());
    expect(late.stale).toEqual([requests[2]]);
    expect(late.kept).toHaveLength(2);
  });

  type Change = (given: Awaited<ReturnType<typeof prepared>>, bundle: string) => Promise<string>;
  const changes: [name: string, change: Change, message?: RegExp][] = [
    ['nothing', async () => ''],
    ['something else', async () => 'null'],
    ['a list', async () => '[]'],
    [
      'another format',
      async (_given, bundle) => bundle.replace('vouchsafe-kds-bundle', 'other'),
      /expected vouchsafe-kds-bundle/,
    ],
    [
      'another version',
      async (_given, bundle) => bundle.replace('"version": 1', '"version": 2'),
      /expected vouchsafe-kds-bundle, version 1/,
    ],
    ['no entries', async () => '{"format":"vouchsafe-kds-bundle","version":1}'],
    ['an entry that is none', async (_given, bundle) => bundle.replace('"entries": [', '"entries": [null,')],
    ['one more member', async (_given, bundle) => bundle.replace('"version": 1,', '"version": 1, "x": 1,')],
    [
      'a member twice',
      async (_given, bundle) => bundle.replace('"version": 1,', '"version": 1, "version": 1,'),
    ],
    ['one more member of an entry', async (_given, bundle) => bundle.replace('"sha256"', '"x": 1, "sha256"')],
    ['other white space', async (_given, bundle) => bundle.replace('\n', ' ')],
    ['half', async (_given, bundle) => bundle.slice(0, bundle.length / 2)],
    ['more behind it', async (_given, bundle) => `${bundle} `],
    ['a path of another host', async (_given, bundle) => bundle.replace('/vcek/v1', 'http://x/vcek/v1')],
    ['a path out', async (_given, bundle) => bundle.replace('/vcek/v1/Milan/crl', '/vcek/v1/../crl')],
    ['a path in another form', async (_given, bundle) => bundle.replace('blSPL=4', 'blSPL=04')],
    [
      'a digest of other content',
      async (_given, bundle) => bundle.replace(/"sha256": "./, '"sha256": "_'),
      /entry 1 .*digest/,
    ],
    ['content that is no base64', async (_given, bundle) => bundle.replace('"content": "', '"content": "!')],
    [
      'the VCEK of one chip as another’s',
      async ({ chip }, bundle) => bundle.replace(toHex(chip.chipId), toHex(chipIdOf('Milan'))),
    ],
    [
      'the chain of VCEKs as that of VLEKs',
      async (_given, bundle) => bundle.replace('/vcek/v1/Milan/cert_chain', '/vlek/v1/Milan/cert_chain'),
    ],
    [
      'the list of one product as another’s',
      async (_given, bundle) => bundle.replace('/vcek/v1/Milan/crl', '/vcek/v1/Genoa/crl'),
    ],
    [
      'the same path twice',
      async ({ online, requests }) => {
        const one = text((await exportBundle(online, [requests[1]!])).bytes);
        return one.replace(/\[\n([\s\S]*?\})\n \]/, '[\n$1,\n$1\n ]');
      },
    ],
    [
      'another order',
      async ({ online, requests }) => {
        const value = JSON.parse(text((await exportBundle(online, requests)).bytes)) as {
          entries: unknown[];
        };
        value.entries.reverse();
        return `${JSON.stringify(value, undefined, 1)}\n`;
      },
    ],
  ];

  test.each(changes)('with %s is refused', async (_name, change, message = /bundle/) => {
    const given = await prepared();
    const bundle = text((await exportBundle(given.online, given.requests)).bytes);
    const changed = await change(given, bundle);
    expect(changed).not.toBe(bundle);
    const refused = readBundle(bytesOf(changed));
    await expect(refused).rejects.toBeInstanceOf(MalformedError);
    await expect(refused).rejects.toThrow(message);
    await readBundle(bytesOf(bundle));
  });

  test('with content of another certificate is refused, whoever made the digest', async () => {
    const { vcek, snp, requests } = await prepared();
    const forged = await writeBundle([{ request: requests[0]!, bytes: snp.ask }]);
    await expect(readBundle(forged)).rejects.toThrow(/entry 1/);
    expect(text(forged)).toContain(toBase64(snp.ask));
    expect(await readBundle(await writeBundle([{ request: requests[0]!, bytes: vcek }]))).toHaveLength(1);
  });

  test('that is too long or no text is refused', async () => {
    await expect(readBundle(new Uint8Array(32 * 1024 * 1024 + 1))).rejects.toThrow(/at most 33554432 bytes/);
    await expect(readBundle(Uint8Array.of(0xff, 0xfe))).rejects.toThrow(/JSON in UTF-8/);
  });
});

describe('an offline store of Trustee', () => {
  const storeOf = (hwid: string, name: string, bytes: Uint8Array) => {
    const root = temporaryFolder();
    mkdirSync(join(root, 'vcek', hwid), { recursive: true });
    writeFileSync(join(root, 'vcek', hwid, name), bytes);
    writeFileSync(join(root, 'vcek', hwid, 'README'), 'not a certificate');
    mkdirSync(join(root, 'vcek', 'notes'));
    return root;
  };

  test.each([
    ['Milan', 'bl04_tee00_snp24_ucode217_vcek.der'],
    ['Turin', 'bl04_tee00_snp24_ucode217_fmc01_vcek.der'],
    ['Genoa', 'vcek.der'],
  ] as const)('of %s is read', async (line, name) => {
    const { chip, vcek, offline, clock } = await prepared(line);
    const request = vcekRequest(chip);
    const entries = await readTrusteeStore(storeOf(toHex(request.hwid), name, vcek));
    expect(entries).toEqual([{ request, bytes: vcek }]);
    const client = offline();
    await importEntries(client, entries, clock.now());
    expect(await client.vcek(chip)).toEqual(vcek);
  });

  test('with a certificate of another chip, or something else, is refused', async () => {
    const { vcek, snp, chip } = await prepared();
    const other = toHex(chipIdOf('Milan'));
    await expect(readTrusteeStore(storeOf(other, 'vcek.der', vcek))).rejects.toThrow(/hwID/);
    await expect(readTrusteeStore(storeOf(other, 'vcek.der', snp.ask))).rejects.toBeInstanceOf(
      MalformedError,
    );
    const long = storeOf(other, 'vcek.der', new Uint8Array(16_385));
    await expect(readTrusteeStore(long)).rejects.toThrow(/at most 16384 bytes, found 16385/);
    const strange = await (await misnamed()).vcek({ ...chip, line: 'Milan' });
    const named = storeOf(toHex(chip.chipId), 'vcek.der', strange);
    await expect(readTrusteeStore(named)).rejects.toThrow(/certificate at .* the VCEK of Milan chip/);
  });

  test('that is not there is a clear error', async () => {
    await expect(readTrusteeStore(temporaryFolder())).rejects.toBeInstanceOf(UnavailableError);
  });
});

import {
  type LaunchBundle,
  launchBundle,
  launchRequest,
  measurementEvidence,
  secretDelivery,
} from '@vouchsafe/protocol';
import { type PlatformRoot, toHex, wellKnownSecretGuids } from '@vouchsafe/sev';
import { beforeAll, describe, expect, it } from 'vitest';
import { secretText } from '../../../../tools/src/left-behind/secrets.js';
import type { Broker } from '../broker.js';
import type { RecordEntry } from '../record/entry.js';
import {
  base64,
  inject,
  makeBroker,
  makeSilicon,
  minute,
  permitAll,
  type Silicon,
  type TestBroker,
  type TestBrokerOptions,
} from '../testing/broker.js';
import { digestOf, policies } from '../testing/owner.js';
import { makeTestAuthority, makeTestPlatform, type TestPlatform, version } from '../testing/platform.js';

let silicon: Silicon;
let platform: TestPlatform;
let digest: Uint8Array;
beforeAll(async () => {
  silicon = await makeSilicon();
  platform = await makeTestPlatform(await makeTestAuthority());
  digest = await digestOf();
});

const passphrase = secretText('correct horse battery staple');
const guid = wellKnownSecretGuids.luksKey;
const resource = 'disks/luks/web1';
const onlyLaunches = '@id("launches")\npermit (principal is PreLaunchGuest, action, resource);\n';

const kind = (changes: object = {}) => ({
  policy: policies.sev,
  digests: [{ name: 'web server 12', digest: toHex(digest) }],
  secrets: [{ guid, resource }],
  ...changes,
});

/** A broker that expects one kind of launch and releases one secret to it. */
async function expecting(options: TestBrokerOptions = {}, policy = onlyLaunches): Promise<TestBroker> {
  const roots: readonly PlatformRoot[] = [platform.authority.root];
  const world = await makeBroker({ silicon, platformRoots: roots, ...options });
  await world.admin.put(`/v1/secrets/${resource}`, { content: base64(passphrase) });
  await world.admin.put('/v1/policies/default', { policy: base64(policy) });
  expect((await world.admin.put('/v1/launches/default', kind())).status).toBe(200);
  return world;
}

const post = (broker: Pick<Broker, 'app'>, url: string, payload: unknown) =>
  inject<{ reason?: string; checks?: { id: string; status: string; found?: string }[] }>(broker, {
    method: 'POST',
    url,
    payload: payload as object,
  });

async function openSession(broker: Pick<Broker, 'app'>, prefix = ''): Promise<LaunchBundle> {
  const answer = await post(
    broker,
    `${prefix}/pre-launch/sessions`,
    launchRequest.toJson(platform.request()),
  );
  expect(answer.status, answer.text).toBe(201);
  return launchBundle.parse(answer.json);
}

async function measured(bundle: LaunchBundle, launchDigest = digest, on = platform) {
  const guest = await on.start(bundle);
  const measurement = await guest.measure(launchDigest);
  const { launchId, policy } = bundle;
  const evidence = measurementEvidence.toJson({ launchId, measurement, ...version, policy });
  const open = async (json: unknown) =>
    new TextDecoder().decode(await guest.open(secretDelivery.parse(json), measurement));
  return { evidence, open };
}

const report = (broker: Pick<Broker, 'app'>, bundle: LaunchBundle, evidence: unknown, prefix = '') =>
  post(broker, `${prefix}/pre-launch/sessions/${bundle.launchId}/measurement`, evidence);

const failedIn = ({ json }: Awaited<ReturnType<typeof post>>) =>
  (json.checks ?? []).filter(({ status }) => status === 'fail').map(({ id }) => id);

async function launches({ admin }: TestBroker): Promise<RecordEntry[]> {
  const { json } = await admin.get<RecordEntry[]>('/v1/audit/entries?limit=1000');
  return json.filter(({ kind: each }) => ['launch', 'decision', 'release'].includes(each));
}

describe('a host that launches what the owner expects', () => {
  it('gets the secret packet, over the same secrets, policies and record', async () => {
    const world = await expecting();
    const bundle = await openSession(world.broker);
    const { evidence, open } = await measured(bundle);
    const answer = await report(world.broker, bundle, evidence);
    expect(answer.status, answer.text).toBe(200);
    expect(await open(answer.json)).toContain(passphrase);

    const entries = await launches(world);
    expect(entries.map(({ kind: each, body }) => body['event'] ?? each)).toEqual([
      'session',
      'measurement',
      'decision',
      'release',
    ]);
    const [session] = entries;
    for (const entry of entries) expect(entry.body['session']).toBe(session?.body['session']);
    expect(entries.at(-1)).toMatchObject({ subject: resource, body: { launch: 'default', version: 1 } });
    const text = JSON.stringify(entries) + world.logs.join('');
    for (const hidden of [passphrase, bundle.launchId]) expect(text).not.toContain(hidden);
    const { json } = await world.admin.get<{ accepted: boolean }>('/v1/audit/verify');
    expect(json.accepted).toBe(true);
  });

  it('may report to another replica than the one that it asked', async () => {
    const world = await expecting();
    const replica = await world.open({ replica: 'two' });
    const bundle = await openSession(world.broker);
    const { evidence, open } = await measured(bundle);
    expect(await open((await report(replica, bundle, evidence)).json)).toContain(passphrase);
    const again = await report(world.broker, bundle, evidence);
    expect([again.status, failedIn(again)[0]]).toEqual([403, 'session.unused']);
  });

  it('finds other kinds of launch below their names', async () => {
    const world = await expecting();
    await world.admin.put('/v1/secrets/disks/luks/web2', {
      content: base64(secretText('another pass-phrase')),
    });
    await world.admin.put('/v1/launches/web2', kind({ secrets: [{ guid, resource: 'disks/luks/web2' }] }));
    const bundle = await openSession(world.broker, '/launches/web2');
    const { evidence, open } = await measured(bundle);
    const answer = await report(world.broker, bundle, evidence, '/launches/web2');
    expect(await open(answer.json)).toContain('another pass-phrase');
    const none = await post(
      world.broker,
      '/launches/none/pre-launch/sessions',
      launchRequest.toJson(platform.request()),
    );
    expect(none.status).toBe(404);
  });
});

describe('a launch gets no secret', () => {
  it('of something else, and the record says at which check', async () => {
    const world = await expecting();
    const bundle = await openSession(world.broker);
    const { evidence } = await measured(bundle, new Uint8Array(32));
    const answer = await report(world.broker, bundle, evidence);
    expect([answer.status, failedIn(answer)]).toEqual([403, ['measurement.digest']]);
    const entry = (await launches(world)).at(-1);
    expect(entry?.body).toMatchObject({ event: 'measurement', accepted: false });
  });

  it('of another kind than its session was opened for, at session.launch', async () => {
    const world = await expecting();
    await world.admin.put('/v1/launches/other', kind({ policy: policies.sev }));
    const bundle = await openSession(world.broker, '/launches/other');
    const { evidence } = await measured(bundle);
    const answer = await report(world.broker, bundle, evidence);
    expect(answer.status).toBe(403);
    expect(failedIn(answer)[0]).toBe('session.launch');
  });

  it('after its session has ended', async () => {
    const world = await expecting();
    const bundle = await openSession(world.broker);
    const { evidence } = await measured(bundle);
    world.clock.now += 10 * minute;
    await world.broker.maintain();
    const answer = await report(world.broker, bundle, evidence);
    expect([answer.status, failedIn(answer)[0]]).toEqual([403, 'session.unexpired']);
  });

  it('on a platform of a root that is not trusted', async () => {
    const world = await expecting();
    const stranger = await makeTestPlatform(await makeTestAuthority());
    const answer = await post(world.broker, '/pre-launch/sessions', launchRequest.toJson(stranger.request()));
    expect(answer.status).toBe(403);
    expect(failedIn(answer)).toContain('chain.ark.root');
    const [entry] = await launches(world);
    expect(entry?.body).toMatchObject({ event: 'platform', accepted: false });
  });

  it.each([
    ['denies everything', '@id("nobody")\nforbid (principal, action, resource);', 'nobody'],
    [
      'is for guests of SEV-SNP',
      '@id("snp")\npermit (principal is SnpGuest, action, resource);',
      'deny-by-default',
    ],
  ])('when the policy %s, and the operator is told', async (_, policy, rule) => {
    const world = await expecting({}, policy);
    const bundle = await openSession(world.broker);
    const { evidence } = await measured(bundle);
    const answer = await report(world.broker, bundle, evidence);
    expect([answer.status, failedIn(answer)]).toEqual([403, ['release.decision']]);
    const found = answer.json.checks?.find(({ id }) => id === 'release.decision')?.found;
    const number = /number ([0-9-]{19})/.exec(found ?? '')?.[1];
    const { json } = await world.admin.get<{ entry: RecordEntry }>(`/v1/decisions/${number}`);
    expect(json.entry).toMatchObject({ kind: 'decision', body: { allowed: false, rule, launch: 'default' } });
    expect((await launches(world)).filter(({ kind: each }) => each === 'release')).toEqual([]);
  });

  it('when one of its secrets is used up, and then the others count nothing', async () => {
    const world = await expecting({}, permitAll);
    await world.admin.put('/v1/secrets/join/token/a', { content: base64('a'), releases: 1 });
    await world.admin.put('/v1/secrets/join/token/b', { content: base64('b'), releases: 1 });
    const second = '00000000-0000-0000-0000-000000000001';
    const secrets = (...names: string[]) => ({
      secrets: names.map((each, i) => ({ guid: i === 0 ? guid : second, resource: each })),
    });
    await world.admin.put('/v1/launches/one', kind(secrets('join/token/b')));
    await world.admin.put('/v1/launches/both', kind(secrets('join/token/a', 'join/token/b')));
    const launch = async (name: string) => {
      const bundle = await openSession(world.broker, `/launches/${name}`);
      return report(world.broker, bundle, (await measured(bundle)).evidence, `/launches/${name}`);
    };
    expect((await launch('one')).status).toBe(200);
    const refused = await launch('both');
    expect([refused.status, failedIn(refused)]).toEqual([403, ['release.decision']]);
    const { json } = await world.admin.get<{ versions: { released: number }[] }>('/v1/secrets/join/token/a');
    expect(json.versions[0]?.released).toBe(0);
    const verified = await world.admin.get<{ accepted: boolean }>('/v1/audit/verify');
    expect(verified.json.accepted).toBe(true);
  });
});

describe('machines', () => {
  it('are told apart by their chips where the key service is asked, and counted', async () => {
    const neighbour = await makeTestPlatform(platform.authority);
    const keyService = {
      endorsement: silicon.service.endorsement,
      cek: (chipId: Uint8Array) =>
        platform.keyService.cek(chipId).catch(() => neighbour.keyService.cek(chipId)),
      issuerOf: platform.keyService.issuerOf,
    };
    const rule =
      '@id("one-machine")\npermit (principal is PreLaunchGuest, action, resource)\n' +
      'when { principal has chipId && context.otherMachines < 1 };';
    const world = await expecting({ keyService }, rule);
    const launch = async (on: TestPlatform, which: 'A' | 'B' = 'A') => {
      const request = which === 'A' ? on.requestForCaseA() : on.request();
      const opened = await post(world.broker, '/pre-launch/sessions', launchRequest.toJson(request));
      const bundle = launchBundle.parse(opened.json);
      const answer = await report(world.broker, bundle, (await measured(bundle, digest, on)).evidence);
      const found = answer.json.checks?.find(({ id }) => id === 'release.decision')?.found ?? '';
      const number = /number ([0-9-]{19})/.exec(found)?.[1];
      if (number === undefined) return answer.status;
      const { json } = await world.admin.get<{ entry: RecordEntry }>(`/v1/decisions/${number}`);
      return (json.entry.body['denials'] as { claim: string; found: string }[]).map(
        ({ claim, found: what }) => [claim, what],
      );
    };
    expect(await launch(platform)).toBe(200);
    expect(await launch(platform)).toBe(200);
    expect(await launch(neighbour)).toEqual([['otherMachines', '1']]);
    expect(await launch(platform, 'B')).toEqual([
      ['chipId', 'none'],
      ['otherMachines', '1'],
    ]);
    const [session] = await launches(world);
    expect(session?.body['chipId']).toBe(toHex(platform.chipId));
  });
});

describe('secrets that fit no packet together', () => {
  it('are not counted as released', async () => {
    const world = await expecting({}, permitAll);
    await world.admin.put('/v1/secrets/large/one/a', { content: base64('x'.repeat(17_000)), releases: 1 });
    await world.admin.put('/v1/launches/default', kind({ secrets: [{ guid, resource: 'large/one/a' }] }));
    const bundle = await openSession(world.broker);
    const answer = await report(world.broker, bundle, (await measured(bundle)).evidence);
    expect([answer.status, failedIn(answer)]).toEqual([403, ['release.decision']]);
    const { json } = await world.admin.get<{ versions: { released: number }[] }>('/v1/secrets/large/one/a');
    expect(json.versions[0]?.released).toBe(0);
  });
});

describe('an owner', () => {
  it('expects nothing that a careful one would not', async () => {
    const world = await expecting();
    for (const [changes, where] of [
      [{ policy: 0 }, 'policy'],
      [{ policy: 0x8000 + policies.sev }, 'policy'],
      [{ digests: [] }, 'digests'],
      [{ digests: [{ name: 'n', digest: '00' }] }, 'digest'],
      [{ secrets: [] }, 'secrets'],
      [{ secrets: [{ guid: 'x', resource }] }, 'guid'],
      [{ secrets: [{ guid, resource: '../x' }] }, 'resource'],
      [{ extra: 1 }, 'extra'],
    ] as const) {
      const answer = await world.admin.put('/v1/launches/default', kind(changes));
      expect(answer.status, where).toBe(400);
      expect(answer.text).toContain(where);
    }
    const { json } = await world.admin.get<{ name: string; version: number }[]>('/v1/launches');
    expect(json.map(({ name, version: each }) => [name, each])).toEqual([['default', 1]]);
    await world.admin.delete('/v1/launches/default');
    const answer = await post(world.broker, '/pre-launch/sessions', launchRequest.toJson(platform.request()));
    expect(answer.status).toBe(404);
  });

  it('trusts platforms of the same kind of root as guests', async () => {
    await expect(
      makeBroker({ silicon, platformRoots: [{ ...platform.authority.root, kind: 'amd' }] }),
    ).rejects.toMatchObject({ argument: 'roots' });
  });
});

import {
  type Appraisal,
  amdPlatformRoots,
  buildGuestPolicy,
  calculateLaunchDigest,
  concat,
  InvalidArgumentError,
  isZero,
  MalformedError,
  openSecret,
  parseSecretTable,
  Secret,
  SessionRefusedError,
  systemRandom,
  UnavailableError,
  vcpuSignatureOf,
  verdict,
  wellKnownSecretGuids,
  zeroGuid,
} from '@vouchsafe/sev';
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { diskPassphrase, files, image, makeOwner, policies } from '../testing/owner.js';
import {
  makeTestAuthority,
  makeTestPlatform,
  type TestAuthority,
  type TestPlatform,
  version,
} from '../testing/platform.js';
import type { GuestOwner } from './owner.js';
import { memorySessionStore } from './sessions.js';

let authority: TestAuthority;
let platform: TestPlatform;
let stranger: TestPlatform;

beforeAll(async () => {
  authority = await makeTestAuthority();
  platform = await makeTestPlatform(authority);
  stranger = await makeTestPlatform(await makeTestAuthority());
});

const failedOf = (appraisal: Appraisal) => verdict(appraisal).failed.map(({ id }) => id);
const notRun = [
  'measurement.form',
  'measurement.api-binding',
  'measurement.policy-api',
  'measurement.minimum-api',
  'measurement.build',
  'measurement.digest',
];

async function launch(owner: GuestOwner) {
  const { bundle } = await owner.openSession(platform.request());
  if (bundle === undefined) throw new Error('no session was opened');
  const guest = await platform.start(bundle);
  const report = (measurement: Uint8Array, changes: object = {}) =>
    owner.appraiseMeasurement({
      launchId: bundle.launchId,
      measurement,
      ...version,
      policy: bundle.policy,
      ...changes,
    });
  return { bundle, guest, report };
}

const digestOf = async (changes: object = {}) =>
  (
    await calculateLaunchDigest({
      mode: 'sev',
      firmware: image.firmware,
      kernel: files.kernel,
      initrd: files.initrd,
      append: files.commandLine,
      ...changes,
    })
  ).digest;

describe('a launch that is as expected', () => {
  it.each(['A', 'B'] as const)('gets its secret, and nobody else does: case %s', async (which) => {
    const { owner, sessions } = await makeOwner(platform);
    const opened = await owner.openSession(which === 'A' ? platform.requestForCaseA() : platform.request());
    expect(verdict(opened.appraisal)).toMatchObject({ accepted: true });
    const guest = await platform.start(opened.bundle!);
    const blob = await guest.measure(await digestOf());
    const { launchId } = opened.bundle!;

    const { appraisal, delivery } = await owner.appraiseMeasurement({
      launchId,
      measurement: blob,
      ...version,
      policy: owner.policy,
    });

    expect(verdict(appraisal)).toMatchObject({ accepted: true, word: 'accepted' });
    expect(appraisal.root?.name).toBe('Vouchsafe Development, Naples');
    const [entry] = parseSecretTable(await guest.open(delivery!, blob));
    expect(entry!.guid).toBe(wellKnownSecretGuids.luksKey);
    expect(new TextDecoder().decode(openSecret(entry!.data))).toBe(diskPassphrase);
    expect(new TextDecoder().decode(delivery!.payload)).not.toContain('horse');
    expect(sessions.every(({ tek, tik }) => tek.isZeroed && tik.isZeroed)).toBe(true);
  });

  it('of SEV-ES is measured with its vCPUs, in either form of the FPU state', async () => {
    const { owner } = await makeOwner(platform, { policy: policies['sev-es'] });
    expect(owner.mode).toBe('sev-es');
    expect(owner.expected.digests.map(({ name }) => name)).toEqual([
      'disk server, 1 vCPU, EPYC-Milan, FPU zero',
      'disk server, 1 vCPU, EPYC-Milan, FPU set',
      'disk server, 2 vCPUs, EPYC-Milan, FPU zero',
      'disk server, 2 vCPUs, EPYC-Milan, FPU set',
    ]);
    for (const vmsaFpu of ['set', 'zero'] as const) {
      const { bundle, guest, report } = await launch(owner);
      expect(bundle).toMatchObject({
        mode: 'sev-es',
        vcpus: [1, 2],
        vcpuSignatures: [vcpuSignatureOf('EPYC-Milan')],
      });
      const es = { mode: 'seves', vcpus: 2, vcpuSignature: vcpuSignatureOf('EPYC-Milan'), vmsaFpu };
      const { appraisal, delivery } = await report(await guest.measure(await digestOf(es)));
      expect(failedOf(appraisal)).toEqual([]);
      expect(delivery).toBeDefined();
    }
  });

  it('has keys, nonce, IV and id of its own', async () => {
    const { owner, sessions } = await makeOwner(platform);
    const bundles = [];
    for (let i = 0; i < 3; i++) bundles.push((await owner.openSession(platform.request())).bundle!);
    const different = (values: readonly unknown[]) => new Set(values.map(String)).size === values.length;
    expect(different(bundles.map(({ launchId }) => launchId))).toBe(true);
    expect(different(bundles.map(({ godhCertificate }) => godhCertificate))).toBe(true);
    expect(different(bundles.map(({ session }) => session.slice(0, 0x10)))).toBe(true);
    expect(different(bundles.map(({ session }) => session.slice(0x30, 0x40)))).toBe(true);
    expect(different(sessions.map(({ tek }) => openSecret(tek)))).toBe(true);
    expect(different(sessions.map(({ tik }) => openSecret(tik)))).toBe(true);
  });
});

describe('a platform is refused a session', () => {
  const hostile: [string, string, () => Promise<object> | object][] = [
    ['swapped PDH', 'chain.pdh.pek-signature', () => ({ pdh: stranger.chain.pdh.raw })],
    [
      'PEK of another platform',
      'chain.pek.cek-signature',
      () => ({
        pdh: stranger.chain.pdh.raw,
        certificateChain: concat(stranger.chain.pek.raw, stranger.chain.oca.raw, platform.chain.cek.raw),
      }),
    ],
    [
      'forged ASK',
      'chain.ask.ark-signature',
      () => ({ certificateAuthority: concat(stranger.authority.ask.raw, authority.ark.raw) }),
    ],
    ['unpinned root', 'chain.ark.root', () => stranger.request()],
    ['API below 0.17', 'platform.api-binding', () => ({ apiMajor: 0, apiMinor: 16 })],
  ];
  it.each(hostile)('%s, at %s', async (_, id, changes) => {
    const { owner, sessions } = await makeOwner(platform);
    const { appraisal, bundle } = await owner.openSession(platform.request(await changes()));
    expect(failedOf(appraisal)).toContain(id);
    expect(bundle).toBeUndefined();
    expect(sessions).toEqual([]);
  });

  it('another owner’s, at chain.oca.pinned', async () => {
    const { owner } = await makeOwner(platform, { owner: stranger.chain.oca.raw });
    expect(failedOf((await owner.openSession(platform.request())).appraisal)).toEqual(['chain.oca.pinned']);
    const own = await makeOwner(platform, { owner: platform.chain.oca.raw });
    expect(failedOf((await own.owner.openSession(platform.request())).appraisal)).toEqual([]);
  });

  it('CEK of another chip, at chain.cek.exported (case A)', async () => {
    const neighbour = await makeTestPlatform(authority);
    const { owner } = await makeOwner(platform, { keyService: neighbour.keyService });
    const { appraisal, bundle } = await owner.openSession(
      platform.requestForCaseA({ chipId: neighbour.chipId }),
    );
    expect(failedOf(appraisal)).toContain('chain.cek.exported');
    expect(bundle).toBeUndefined();
  });

  it('development root where AMD’s is expected, at chain.ark.root', async () => {
    const { owner } = await makeOwner(platform, { roots: amdPlatformRoots });
    expect(owner.development).toBe(false);
    expect(failedOf((await owner.openSession(platform.request())).appraisal)).toContain('chain.ark.root');
  });

  it('API below the policy’s or the owner’s least, at platform.api', async () => {
    const policy = buildGuestPolicy({
      noDebug: true,
      noKeySharing: true,
      noSend: true,
      apiMajor: 1,
      apiMinor: 51,
    });
    for (const changes of [{ policy }, { minimumApi: { apiMajor: 0, apiMinor: 25 } }]) {
      const { owner } = await makeOwner(platform, changes);
      expect(failedOf((await owner.openSession(platform.request())).appraisal)).toEqual(['platform.api']);
    }
  });

  it('unexpected build, at platform.build', async () => {
    const { owner } = await makeOwner(platform, { expectedBuilds: [11, 12] });
    expect(failedOf((await owner.openSession(platform.request())).appraisal)).toEqual(['platform.build']);
    const expecting = await makeOwner(platform, { expectedBuilds: [12, 13] });
    const { appraisal } = await expecting.owner.openSession(platform.request());
    expect(failedOf(appraisal)).toEqual([]);
  });

  it('of which the key service says nothing, as a failure of the service', async () => {
    const { owner } = await makeOwner(platform);
    await expect(owner.openSession(platform.requestForCaseA({ chipId: systemRandom(64) }))).rejects.toThrow(
      UnavailableError,
    );
  });

  it('that the owner is to look up, by an owner who asks no key service', async () => {
    const { owner } = await makeOwner(platform, { offline: true });
    await expect(owner.openSession(platform.requestForCaseA())).rejects.toThrow(/case B/);
    expect((await owner.openSession(platform.request())).bundle).toBeDefined();
  });

  it('with certificates that cannot be read, as malformed', async () => {
    const { owner } = await makeOwner(platform);
    const broken = platform.chain.pdh.raw.slice();
    broken[0] = 9;
    await expect(owner.openSession(platform.request({ pdh: broken }))).rejects.toThrow(
      /PDH certificate.*version/,
    );
    await expect(owner.openSession(platform.request({ pdh: broken }))).rejects.toThrow(MalformedError);
  });
});

describe('a measurement is refused', () => {
  it.each([
    ['altered firmware', () => ({ firmware: image.firmware.with(0, 0) })],
    ['altered kernel', () => ({ kernel: files.kernel.with(0, 0) })],
    ['altered initrd', () => ({ initrd: files.initrd.with(0, 0) })],
    ['missing initrd', () => ({ initrd: new Uint8Array() })],
    ['altered command line', () => ({ append: `${files.commandLine} init=/bin/sh` })],
    ['blank after the command line', () => ({ append: `${files.commandLine} ` })],
  ])('%s, at measurement.digest', async (_, changes) => {
    const { owner, sessions } = await makeOwner(platform);
    const { guest, report } = await launch(owner);
    const { appraisal, delivery } = await report(await guest.measure(await digestOf(changes())));
    expect(failedOf(appraisal)).toEqual(['measurement.digest']);
    expect(delivery).toBeUndefined();
    expect(sessions[0]!.tek.isZeroed && sessions[0]!.tik.isZeroed).toBe(true);
  });

  it.each([
    ['number of vCPUs', { vcpus: 3, vcpuSignature: vcpuSignatureOf('EPYC-Milan') }],
    ['CPU model', { vcpus: 1, vcpuSignature: vcpuSignatureOf('EPYC-Rome') }],
  ])('another %s, at measurement.digest', async (_, changes) => {
    const { owner } = await makeOwner(platform, { policy: policies['sev-es'] });
    const { guest, report } = await launch(owner);
    const { appraisal, delivery } = await report(
      await guest.measure(await digestOf({ mode: 'seves', ...changes })),
    );
    expect(failedOf(appraisal)).toEqual(['measurement.digest']);
    expect(delivery).toBeUndefined();
  });

  it('of another guest, at measurement.digest', async () => {
    const { owner } = await makeOwner(platform);
    const [one, other] = [await launch(owner), await launch(owner)];
    const { appraisal, delivery } = await one.report(await other.guest.measure(await digestOf()));
    expect(failedOf(appraisal)).toEqual(['measurement.digest']);
    expect(delivery).toBeUndefined();
  });

  it.each([0, 16, 32, 47, 49])('of %i bytes, at measurement.form', async (length) => {
    const { owner } = await makeOwner(platform);
    const { guest, report } = await launch(owner);
    const blob = await guest.measure(await digestOf());
    const { appraisal, delivery } = await report(concat(blob, new Uint8Array(1)).slice(0, length));
    expect(failedOf(appraisal)).toEqual(['measurement.form', 'measurement.digest']);
    expect(delivery).toBeUndefined();
  });

  it.each([
    ['major API', { apiMajor: 2 }],
    ['minor API', { apiMinor: 25 }],
    ['build', { buildId: 14 }],
  ])('from another %s than was announced, at session.firmware', async (_, changes) => {
    const { owner } = await makeOwner(platform);
    const { guest, report } = await launch(owner);
    const { appraisal, delivery } = await report(await guest.measure(await digestOf()), changes);
    expect(failedOf(appraisal)).toEqual(['session.firmware', ...notRun]);
    expect(delivery).toBeUndefined();
  });

  it.each([
    ['API', { ...version, apiMinor: 23 }],
    ['build', { ...version, buildId: 12 }],
  ])(
    'from another %s, reported as the one that was announced, at measurement.digest',
    async (_, firmware) => {
      const { owner } = await makeOwner(platform);
      const { bundle } = await owner.openSession(platform.request());
      const guest = await platform.start(bundle!, { firmware });
      const measurement = await guest.measure(await digestOf());
      const { launchId, policy } = bundle!;
      const { appraisal, delivery } = await owner.appraiseMeasurement({
        launchId,
        measurement,
        ...version,
        policy,
      });
      expect(failedOf(appraisal)).toEqual(['measurement.digest']);
      expect(delivery).toBeUndefined();
    },
  );

  it('under another policy, at session.policy; the processor refuses it first', async () => {
    const { owner } = await makeOwner(platform);
    const { bundle, guest, report } = await launch(owner);
    await expect(platform.start(bundle, { policy: 0 })).rejects.toThrow(SessionRefusedError);
    const { appraisal, delivery } = await report(await guest.measure(await digestOf()), { policy: 0 });
    expect(failedOf(appraisal)).toEqual(['session.policy', ...notRun]);
    expect(delivery).toBeUndefined();
  });

  it('for a session that was used, at session.unused, whatever the first verdict was', async () => {
    for (const first of [await digestOf(), await digestOf({ append: '' })]) {
      const { owner } = await makeOwner(platform);
      const { guest, report } = await launch(owner);
      await report(await guest.measure(first));
      const { appraisal, delivery } = await report(await guest.measure(await digestOf()));
      expect(failedOf(appraisal)).toEqual([
        'session.unused',
        'session.launch',
        'session.firmware',
        'session.policy',
        ...notRun,
      ]);
      expect(delivery).toBeUndefined();
    }
  });

  it('for all but one of many that come at the same time', async () => {
    const { owner } = await makeOwner(platform);
    const { guest, report } = await launch(owner);
    const blob = await guest.measure(await digestOf());
    const answers = await Promise.all(Array.from({ length: 8 }, () => report(blob)));
    expect(answers.filter(({ delivery }) => delivery !== undefined)).toHaveLength(1);
  });

  it('for a session that this owner never opened, at session.known', async () => {
    const { owner } = await makeOwner(platform);
    const { guest, report } = await launch(owner);
    const { appraisal, delivery } = await report(await guest.measure(await digestOf()), {
      launchId: '0'.repeat(32),
    });
    expect(failedOf(appraisal)).toContain('session.known');
    expect(delivery).toBeUndefined();
  });

  it('too late, at session.unexpired', async () => {
    const { owner, clock, sessions } = await makeOwner(platform);
    const { bundle, guest, report } = await launch(owner);
    expect(bundle.expires).toBe(new Date(clock.now + 60_000).toISOString());
    clock.now += 60_000;
    const { appraisal, delivery } = await report(await guest.measure(await digestOf()));
    expect(failedOf(appraisal)).toEqual([
      'session.unexpired',
      'session.launch',
      'session.firmware',
      'session.policy',
      ...notRun,
    ]);
    expect(delivery).toBeUndefined();
    expect(sessions[0]!.tik.isZeroed).toBe(true);
  });

  it('from API below 0.17, unless that is allowed by name', async () => {
    const old = { apiMajor: 0, apiMinor: 16, buildId: 2 };
    const { owner } = await makeOwner(platform, { allowApiBelow017: true });
    const { bundle } = await owner.openSession(platform.request(old));
    const guest = await platform.start(bundle!, { firmware: old });
    const measurement = await guest.measure(await digestOf());
    const { launchId, policy } = bundle!;
    const { appraisal, delivery } = await owner.appraiseMeasurement({
      launchId,
      measurement,
      ...old,
      policy,
    });
    expect(failedOf(appraisal)).toEqual([]);
    expect(isZero(await guest.open(delivery!, measurement))).toBe(false);
  });
});

describe('keys are zeroed', () => {
  it('when sessions expire, and when the owner closes', async () => {
    const { owner, clock, sessions } = await makeOwner(platform);
    await owner.openSession(platform.request());
    clock.now += 60_000;
    await owner.endExpiredSessions();
    expect(sessions[0]!.tek.isZeroed && sessions[0]!.tik.isZeroed).toBe(true);
    await owner.openSession(platform.request());
    expect(sessions[1]!.tek.isZeroed).toBe(false);
    await owner.close();
    expect(sessions[1]!.tek.isZeroed && sessions[1]!.tik.isZeroed).toBe(true);
  });

  it('of the table that was encrypted', async () => {
    const { owner } = await makeOwner(platform);
    const { guest, report } = await launch(owner);
    const zero = vi.spyOn(Secret.prototype, 'zero');
    onTestFinished(() => zero.mockRestore());
    const { delivery } = await report(await guest.measure(await digestOf()));
    expect((zero.mock.contexts as Secret[]).map(({ length }) => length)).toContain(delivery!.payload.length);
  });

  it('when there is no room for the session', async () => {
    const { owner, sessions } = await makeOwner(platform, { sessions: memorySessionStore({ limit: 1 }) });
    await owner.openSession(platform.request());
    await expect(owner.openSession(platform.request())).rejects.toThrow(UnavailableError);
    expect(sessions.map(({ tek }) => tek.isZeroed)).toEqual([false, true]);
  });
});

describe('an owner is not made', () => {
  const secret = (guid: string, length = 8) => ({ guid, data: Secret.take(new Uint8Array(length)) });
  it.each([
    ['with a policy that allows debugging', { policy: policies.sev & ~1 }, /NODBG/],
    ['with a policy that allows key sharing', { policy: policies.sev & ~2 }, /NOKS/],
    ['with a policy that allows migration to anyone', { policy: policies.sev & ~8 }, /NOSEND/],
    ['with reserved policy bits', { policy: policies.sev | 0x40 }, /firmware refuses/],
    [
      'for SEV-ES without CPU models',
      { policy: policies['sev-es'], images: [{ ...image, vcpuTypes: [] }] },
      undefined,
    ],
    [
      'for SEV-ES without a form of the FPU',
      { policy: policies['sev-es'], images: [{ ...image, vmsaFpu: [] }] },
      undefined,
    ],
    ['without roots', { roots: [] }, undefined],
    ['without images', { images: [] }, undefined],
    ['with two images of one name', { images: [image, image] }, undefined],
    [
      'for SEV-ES without vCPUs',
      { policy: policies['sev-es'], images: [{ ...image, vcpus: [] }] },
      undefined,
    ],
    [
      'for an unknown CPU model',
      { policy: policies['sev-es'], images: [{ ...image, vcpuTypes: ['Z80'] }] },
      undefined,
    ],
    ['without secrets', { secrets: [] }, undefined],
    ['with a secret without name', { secrets: [secret(zeroGuid)] }, undefined],
    [
      'with two secrets of one name',
      { secrets: [secret(wellKnownSecretGuids.luksKey), secret(wellKnownSecretGuids.luksKey)] },
      undefined,
    ],
    ['with more than a packet holds', { secrets: [secret(wellKnownSecretGuids.luksKey, 16345)] }, undefined],
  ])('%s', async (_, changes, hint) => {
    const made = makeOwner(platform, changes);
    await expect(made).rejects.toThrow(InvalidArgumentError);
    if (hint !== undefined) await expect(made).rejects.toMatchObject({ hint: expect.stringMatching(hint) });
  });

  it('with AMD’s roots and a development root at once, or with two development roots', async () => {
    const mixed = [...amdPlatformRoots, authority.root];
    await expect(makeOwner(platform, { roots: mixed })).rejects.toThrow(/never both/);
    const two = [authority.root, { ...authority.root, arkFingerprint: 'another' }];
    await expect(makeOwner(platform, { roots: two })).rejects.toThrow(/never both/);
  });

  it('but is, with what it allows by name, and with the largest secret', async () => {
    const changes = { policy: 0, allowDebug: true, allowKeySharing: true, allowMigrationToAnyone: true };
    const { owner } = await makeOwner(platform, {
      ...changes,
      secrets: [secret(wellKnownSecretGuids.luksKey, 16344)],
    });
    const { guest, report } = await launch(owner);
    const { delivery } = await report(await guest.measure(await digestOf()));
    expect(delivery!.payload).toHaveLength(16384);
  });
});

import {
  amdPlatformRoots,
  buildGuestPolicy,
  concat,
  MalformedError,
  systemRandom,
  UnavailableError,
} from '@vouchsafe/sev';
import { beforeAll, describe, expect, it } from 'vitest';
import { failedOf, makeOwner } from '../testing/owner.js';
import {
  makeTestAuthority,
  makeTestPlatform,
  type TestAuthority,
  type TestPlatform,
} from '../testing/platform.js';

let authority: TestAuthority;
let platform: TestPlatform;
let stranger: TestPlatform;

beforeAll(async () => {
  authority = await makeTestAuthority();
  platform = await makeTestPlatform(authority);
  stranger = await makeTestPlatform(await makeTestAuthority());
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
    expect(failedOf(appraisal)[0]).toBe(id);
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
    expect(failedOf(appraisal)[0]).toBe('chain.cek.exported');
    expect(bundle).toBeUndefined();
  });

  it('development root where AMD’s is expected, at chain.ark.root', async () => {
    const { owner } = await makeOwner(platform, { roots: amdPlatformRoots });
    expect(owner.development).toBe(false);
    expect(failedOf((await owner.openSession(platform.request())).appraisal)[0]).toBe('chain.ark.root');
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

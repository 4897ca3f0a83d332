import {
  buildGuestPolicy,
  buildSevCertificate,
  digest,
  type LaunchSession,
  launchStartBuffer,
  measureLaunch,
  signSevCertificate,
} from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { p384Key } from '../../identity/keys.js';
import {
  expectSuccess,
  places,
  seededRandom,
  TestHypervisor,
  testMachine,
} from '../../testing/hypervisor.js';

const api = { apiMajor: 1, apiMinor: 55 };
const noDebug = 1;

let hypervisor: TestHypervisor;
beforeEach(async () => {
  hypervisor = new TestHypervisor(testMachine().host);
  await hypervisor.start('sev-es');
});

describe('LAUNCH_START', () => {
  const withSession = (
    session: LaunchSession,
    values: Partial<Parameters<typeof launchStartBuffer.build>[0]> = {},
  ) =>
    startWith(
      { godhCertificate: session.godhCertificate, session: session.session },
      { policy: session.policy, ...values },
    );

  async function startWith(
    channel: { godhCertificate: Uint8Array; session: Uint8Array },
    values: Parameters<typeof launchStartBuffer.build>[0],
  ) {
    await hypervisor.host.memory.write(places.certificate, channel.godhCertificate);
    await hypervisor.host.memory.write(places.session, channel.session);
    return hypervisor.call('LAUNCH_START', [
      launchStartBuffer,
      {
        certificateAddress: BigInt(places.certificate),
        certificateLength: 0x824,
        sessionAddress: BigInt(places.session),
        sessionLength: 0x80,
        ...values,
      },
    ]);
  }

  it('gives the lowest free handle, and as many guests as the firmware holds', async () => {
    for (let handle = 1; handle <= 1024; handle++) expect(await hypervisor.newGuest(0)).toBe(handle);
    expect(await hypervisor.launchStart(0)).toBe('RESOURCE_LIMIT');
    expectSuccess(await hypervisor.decommission(17));
    expect(await hypervisor.newGuest(0)).toBe(17);
  });

  it('takes sessions as sevctl makes them, and as sev-tool does, which signs the certificate itself', async () => {
    const session = await hypervisor.ownerSession(noDebug);
    expect(await withSession(session)).toBe('SUCCESS');
    const random = seededRandom('godh');
    const godh = p384Key(random(48));
    const key = { usage: 'PEK', algorithm: 'ECDSA-SHA256', key: godh } as const;
    const signed = await signSevCertificate(session.godhCertificate, key);
    expect(await startWith({ godhCertificate: signed, session: session.session }, { policy: noDebug })).toBe(
      'SUCCESS',
    );
  });

  it.each([
    ['debugging allowed', 0],
    ['key sharing allowed', 1],
    ['ES off', 3],
    [
      'another minimum API',
      buildGuestPolicy({
        noDebug: true,
        noKeySharing: true,
        encryptedState: true,
        apiMinor: 51,
        apiMajor: 1,
      }),
    ],
  ])('refuses a policy that the owner did not bind: %s', async (_what, policy) => {
    const bound = buildGuestPolicy({
      noDebug: true,
      noKeySharing: true,
      encryptedState: true,
      apiMajor: 1,
      apiMinor: 55,
    });
    const session = await hypervisor.ownerSession(bound);
    expect(await withSession(session, { policy })).toBe('BAD_MEASUREMENT');
    expect(await withSession(session)).toBe('SUCCESS');
  });

  it('refuses a session that was altered, or made for another platform or PDH', async () => {
    const session = await hypervisor.ownerSession(noDebug);
    for (let at = 0; at < 0x80; at += 7) {
      const altered = { ...session, session: session.session.slice() };
      altered.session[at]! ^= 1;
      expect(await withSession(altered)).toBe('BAD_MEASUREMENT');
    }
    const other = await hypervisor.ownerSession(noDebug, seededRandom('other'));
    expect(await withSession({ ...session, godhCertificate: other.godhCertificate })).toBe('BAD_MEASUREMENT');
    expectSuccess(await hypervisor.call('PDH_GEN'));
    expect(await withSession(session)).toBe('BAD_MEASUREMENT');
    expect((await hypervisor.status()).guestCount).toBe(0);
  });

  it('refuses certificates of another form, usage, algorithm or key', async () => {
    const session = await hypervisor.ownerSession(noDebug);
    const publicKey = p384Key(seededRandom('k')(48)).publicKey;
    const make = (usage: 'PDH' | 'PEK', algorithm: 'ECDH-SHA256' | 'ECDH-SHA384' | 'ECDSA-SHA256') =>
      buildSevCertificate({ ...api, usage, algorithm, publicKey });
    const offCurve = session.godhCertificate.slice();
    offCurve[0x20]! ^= 1;
    const wrongVersion = session.godhCertificate.slice();
    wrongVersion[0] = 2;
    const bad = [
      make('PEK', 'ECDH-SHA256'),
      make('PDH', 'ECDH-SHA384'),
      make('PDH', 'ECDSA-SHA256'),
      offCurve,
      wrongVersion,
    ];
    for (const godhCertificate of bad) {
      expect(await withSession({ ...session, godhCertificate })).toBe('INVALID_CERTIFICATE');
    }
  });

  it('refuses lengths other than the structures’', async () => {
    const session = await hypervisor.ownerSession(noDebug);
    expect(await withSession(session, { policy: noDebug, certificateLength: 0x823 })).toBe('INVALID_LENGTH');
    expect(await withSession(session, { policy: noDebug, sessionLength: 0x81 })).toBe('INVALID_LENGTH');
    expect(await withSession(session, { policy: noDebug, certificateAddress: 0x7f_ffffn })).toBe(
      'INVALID_ADDRESS',
    );
    expect(await withSession(session, { policy: noDebug, sessionAddress: 0xffff_ffff_ffff_ffffn })).toBe(
      'INVALID_ADDRESS',
    );
  });

  it('refuses a policy that wants newer firmware, or has reserved bits, where there is a session', async () => {
    const launch = async (policy: number) => withSession(await hypervisor.ownerSession(policy));
    expect(await launch(buildGuestPolicy({ apiMajor: 1, apiMinor: 56 }))).toBe('POLICY_FAILURE');
    expect(await launch(buildGuestPolicy({ apiMajor: 2 }))).toBe('POLICY_FAILURE');
    expect(await launch(buildGuestPolicy({ apiMajor: 1, apiMinor: 55 }))).toBe('SUCCESS');
    expect(await launch(buildGuestPolicy({ apiMinor: 200 }))).toBe('SUCCESS');
    for (const bit of [6, 11, 15]) expect(await launch(2 ** bit)).toBe('POLICY_FAILURE');
  });

  it('does not judge them where there is none: such a launch proves nothing anyway (limit)', async () => {
    expect(await hypervisor.launchStart(buildGuestPolicy({ apiMajor: 9 }))).toBe('SUCCESS');
    expect(await hypervisor.launchStart(1 << 6)).toBe('SUCCESS');
  });

  it('refuses SEV-ES guests where INIT did not switch it on', async () => {
    const plain = new TestHypervisor(testMachine().host);
    await plain.start('sev');
    expect(await plain.launchStart(4)).toBe('UNSUPPORTED');
    expect(await plain.launchStart(0)).toBe('SUCCESS');
  });

  it('shares a key with a guest of the same policy that allows it', async () => {
    const open = await hypervisor.newGuest(1);
    const closed = await hypervisor.newGuest(3);
    expect(await hypervisor.launchStart(1, { share: 99 })).toBe('INVALID_GUEST');
    expect(await hypervisor.launchStart(0, { share: open })).toBe('POLICY_FAILURE');
    expect(await hypervisor.launchStart(3, { share: closed })).toBe('POLICY_FAILURE');
    const sharing = await hypervisor.newGuest(1, { share: open });
    expect(sharing).toBe(3);
    expectSuccess(await hypervisor.activate(open, 200));
    expectSuccess(await hypervisor.activate(sharing, 201));
    const plaintext = new Uint8Array(64).fill(1);
    expectSuccess(await hypervisor.load(open, places.image, plaintext));
    const first = await hypervisor.host.memory.read(places.image, 64);
    expectSuccess(await hypervisor.load(sharing, places.image, plaintext));
    expect(await hypervisor.host.memory.read(places.image, 64)).toEqual(first);
    expectSuccess(await hypervisor.deactivate(open));
    expectSuccess(await hypervisor.decommission(open));
    expectSuccess(await hypervisor.load(sharing, places.image, plaintext));
    expect(await hypervisor.host.memory.read(places.image, 64)).toEqual(first);
  });

  it('measures under keys of zeros where there is no session, so anyone can compute the measurement', async () => {
    const handle = await hypervisor.newGuest(1);
    expectSuccess(await hypervisor.activate(handle, 200));
    const { measurement, mnonce } = await hypervisor.measurement(handle);
    const launchDigest = await digest('sha256');
    const tik = new Uint8Array(16);
    expect(measurement).toEqual(
      await measureLaunch({ ...api, buildId: 24, tik, policy: 1, launchDigest, mnonce }),
    );
  });
});

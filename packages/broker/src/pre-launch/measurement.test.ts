import { concat, isZero, SessionRefusedError, vcpuSignatureOf } from '@vouchsafe/sev';
import { beforeAll, describe, expect, it } from 'vitest';
import { digestOf, failedOf, files, image, launch, makeOwner, policies } from '../testing/owner.js';
import { makeTestAuthority, makeTestPlatform, type TestPlatform, version } from '../testing/platform.js';

let platform: TestPlatform;
beforeAll(async () => {
  platform = await makeTestPlatform(await makeTestAuthority());
});

const notRun = [
  'measurement.form',
  'measurement.api-binding',
  'measurement.policy-api',
  'measurement.minimum-api',
  'measurement.build',
  'measurement.digest',
];

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
    const { guest, report } = await launch(owner, platform);
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
    const { guest, report } = await launch(owner, platform);
    const { appraisal, delivery } = await report(
      await guest.measure(await digestOf({ mode: 'seves', ...changes })),
    );
    expect(failedOf(appraisal)).toEqual(['measurement.digest']);
    expect(delivery).toBeUndefined();
  });

  it('of another guest, at measurement.digest', async () => {
    const { owner } = await makeOwner(platform);
    const [one, other] = [await launch(owner, platform), await launch(owner, platform)];
    const { appraisal, delivery } = await one.report(await other.guest.measure(await digestOf()));
    expect(failedOf(appraisal)).toEqual(['measurement.digest']);
    expect(delivery).toBeUndefined();
  });

  it.each([0, 16, 32, 47, 49])('of %i bytes, at measurement.form', async (length) => {
    const { owner } = await makeOwner(platform);
    const { guest, report } = await launch(owner, platform);
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
    const { guest, report } = await launch(owner, platform);
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
    const { bundle, guest, report } = await launch(owner, platform);
    await expect(platform.start(bundle, { policy: 0 })).rejects.toThrow(SessionRefusedError);
    const { appraisal, delivery } = await report(await guest.measure(await digestOf()), { policy: 0 });
    expect(failedOf(appraisal)).toEqual(['session.policy', ...notRun]);
    expect(delivery).toBeUndefined();
  });

  it('for a session that was used, at session.unused, whatever the first verdict was', async () => {
    for (const first of [await digestOf(), await digestOf({ append: '' })]) {
      const { owner } = await makeOwner(platform);
      const { guest, report } = await launch(owner, platform);
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
    const { guest, report } = await launch(owner, platform);
    const blob = await guest.measure(await digestOf());
    const answers = await Promise.all(Array.from({ length: 8 }, () => report(blob)));
    expect(answers.filter(({ delivery }) => delivery !== undefined)).toHaveLength(1);
  });

  it('for a session that this owner never opened, at session.known', async () => {
    const { owner } = await makeOwner(platform);
    const { guest, report } = await launch(owner, platform);
    const { appraisal, delivery } = await report(await guest.measure(await digestOf()), {
      launchId: '0'.repeat(32),
    });
    expect(failedOf(appraisal)[0]).toBe('session.known');
    expect(delivery).toBeUndefined();
  });

  it('too late, at session.unexpired', async () => {
    const { owner, clock, sessions } = await makeOwner(platform);
    const { bundle, guest, report } = await launch(owner, platform);
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

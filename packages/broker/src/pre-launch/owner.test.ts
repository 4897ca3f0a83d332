import {
  amdPlatformRoots,
  InvalidArgumentError,
  openSecret,
  parseSecretTable,
  Secret,
  UnavailableError,
  vcpuSignatureOf,
  verdict,
  wellKnownSecretGuids,
  zeroGuid,
} from '@vouchsafe/sev';
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { digestOf, diskPassphrase, failedOf, image, launch, makeOwner, policies } from '../testing/owner.js';
import { makeTestAuthority, makeTestPlatform, type TestPlatform, version } from '../testing/platform.js';
import { memorySessionStore } from './sessions.js';

let platform: TestPlatform;
beforeAll(async () => {
  platform = await makeTestPlatform(await makeTestAuthority());
});

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
      const { bundle, guest, report } = await launch(owner, platform);
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
    const { guest, report } = await launch(owner, platform);
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
    const mixed = [...amdPlatformRoots, platform.authority.root];
    await expect(makeOwner(platform, { roots: mixed })).rejects.toThrow(/never both/);
    const two = [platform.authority.root, { ...platform.authority.root, arkFingerprint: 'another' }];
    await expect(makeOwner(platform, { roots: two })).rejects.toThrow(/never both/);
  });

  it('but is, with what it allows by name, and with the largest secret', async () => {
    const changes = { policy: 0, allowDebug: true, allowKeySharing: true, allowMigrationToAnyone: true };
    const { owner } = await makeOwner(platform, {
      ...changes,
      secrets: [secret(wellKnownSecretGuids.luksKey, 16344)],
    });
    const { guest, report } = await launch(owner, platform);
    const { delivery } = await report(await guest.measure(await digestOf()));
    expect(delivery!.payload).toHaveLength(16384);
  });
});

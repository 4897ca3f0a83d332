import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { buildGuestFirmware } from '@vouchsafe/guest';
import {
  calculateLaunchDigest,
  InvalidArgumentError,
  p384KeyOf,
  parseChainFiles,
  parseLaunchMeasurement,
  UnavailableError,
  verdict,
  verifyAttestationReport,
} from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import { deferred } from '../deferred.js';
import type { ConfidentialMachine, Launcher, MachineEvent } from '../launch/launcher.js';
import { softwarePlatform } from '../platform/software.js';
import {
  alteredFirmware,
  diskKey,
  launchMachine,
  makeOwner,
  type OwnersWishes,
  policies,
} from './launch-fixture.js';

const text = (value: string) => new TextEncoder().encode(value);
const directBoot = {
  kernel: text('kernel'.repeat(1000)),
  initrd: text('initrd'),
  commandLine: 'console=ttyS0, quiet',
};

/** What every Launcher does, whatever is behind it. `make` gives one that launches on this software machine. */
export function launcherConformance(
  backend: Launcher['backend'],
  make: (host: HostMachine) => Launcher,
): void {
  async function prepared(wishes: OwnersWishes = {}) {
    const { host, seen } = launchMachine();
    const owner = await makeOwner(host, wishes);
    const launcher = make(host);
    const { configuration } = owner;
    return { host, seen, owner, launcher, configuration };
  }
  async function launched(wishes: OwnersWishes = {}) {
    const given = await prepared(wishes);
    return { ...given, machine: await given.launcher.launch(given.configuration) };
  }
  const guestsOf = async (host: HostMachine) => (await softwarePlatform(host).status()).guestCount;

  describe(`Launcher over ${backend}`, () => {
    test('names its backend', async () => {
      expect((await prepared()).launcher.backend).toBe(backend);
    });

    test('a launched machine is measured and does not run', async () => {
      const { machine } = await launched();
      expect(await machine.status()).toBe('prelaunch');
      expect(await machine.information()).toEqual({
        apiMajor: 1,
        apiMinor: 55,
        buildId: 24,
        policy: policies.sev,
        state: 'launch-secret',
        handle: 1,
      });
      await machine.quit();
    });

    test.each<[string, OwnersWishes]>([
      ['SEV', {}],
      ['SEV with a kernel', { directBoot }],
      ['SEV with a kernel alone', { directBoot: { kernel: directBoot.kernel } }],
      ['SEV-ES', { mode: 'sev-es' }],
      ['SEV-ES with three vCPUs and a kernel', { mode: 'sev-es', vcpus: 3, directBoot }],
    ])('%s has the measurement that its owner computes', async (_name, wishes) => {
      const { machine, owner } = await launched(wishes);
      const blob = await machine.launchMeasurement();
      const { measurement, mnonce } = parseLaunchMeasurement(blob);
      expect(measurement).toEqual(await owner.expectedMeasurement(machine, mnonce));
      expect(await machine.launchMeasurement()).toEqual(blob);
      await machine.quit();
    });

    test.each(['sev', 'sev-es'] as const)(
      'a %s guest boots what was measured and finds its secret',
      async (mode) => {
        const { machine, owner, seen } = await launched({ mode, directBoot });
        await machine.injectSecret(await owner.packet(machine));
        await machine.resume();
        expect(await seen).toEqual({ diskKey, commandLine: directBoot.commandLine });
        expect((await machine.information()).state).toBe('running');
        await machine.quit();
      },
    );

    test('without a secret the guest finds none', async () => {
      const { machine, seen } = await launched();
      await machine.resume();
      expect((await seen).diskKey).toBeUndefined();
      await machine.quit();
    });

    test('without a session of an owner there is a guest, which proves nothing', async () => {
      const { launcher, configuration, seen } = await prepared();
      const { channel: _without, ...open } = configuration;
      const machine = await launcher.launch(open);
      await machine.resume();
      await seen;
      await machine.quit();
    });

    test('a secret can go where the caller says', async () => {
      const { machine, owner, seen } = await launched();
      const packet = await owner.packet(machine);
      await machine.injectSecret({ ...packet, guestAddress: 0x10_0000 });
      await machine.resume();
      expect((await seen).diskKey).toBeUndefined();
      await machine.quit();
    });

    test('where the guest has no memory, no secret goes', async () => {
      const { machine, owner } = await launched();
      const packet = await owner.packet(machine);
      const nowhere = machine.injectSecret({ ...packet, guestAddress: 0x1000_0000 });
      await expect(nowhere).rejects.toMatchObject({ code: 'unavailable', what: 'guest memory' });
      await machine.quit();
    });

    test('an altered packet is refused by the processor, and the true one still goes in', async () => {
      const { machine, owner, seen } = await launched();
      const { header, payload } = await owner.packet(machine);
      const altered = payload.with(3, payload[3]! ^ 1);
      await expect(machine.injectSecret({ header, payload: altered })).rejects.toMatchObject({
        code: 'firmware-status',
        command: 'LAUNCH_SECRET',
        statusName: 'BAD_MEASUREMENT',
      });
      await machine.injectSecret({ header, payload });
      await machine.resume();
      expect((await seen).diskKey).toEqual(diskKey);
      await machine.quit();
    });

    test('after the launch no secret is taken', async () => {
      const { machine, owner, seen } = await launched();
      const packet = await owner.packet(machine);
      await machine.resume();
      await seen;
      await expect(machine.injectSecret(packet)).rejects.toMatchObject({
        code: 'firmware-status',
        command: 'LAUNCH_SECRET',
        statusName: 'INVALID_GUEST_STATE',
      });
      await machine.quit();
    });

    test('another policy than the owner’s is refused, and nothing is left behind', async () => {
      const { host, launcher, configuration } = await prepared();
      const weaker = { ...configuration, policy: 0 };
      await expect(launcher.launch(weaker)).rejects.toMatchObject({
        code: 'firmware-status',
        command: 'LAUNCH_START',
        statusName: 'BAD_MEASUREMENT',
      });
      expect(await guestsOf(host)).toBe(0);
    });

    test('the attestation report tells digest and policy, signed by the PEK', async () => {
      const { host, machine, configuration } = await launched({ mode: 'sev-es' });
      const { chain } = await softwarePlatform(host).export();
      const { pek } = parseChainFiles([{ name: 'chain', bytes: chain }]);
      const mnonce = new Uint8Array(16).fill(7);
      const { digest } = await calculateLaunchDigest({ ...configuration, mode: 'seves' });
      const appraisal = await verifyAttestationReport(
        await machine.attestationReport(mnonce),
        p384KeyOf(pek!),
        { mnonce, expectedDigest: digest, policy: policies['sev-es'] },
      );
      expect(verdict(appraisal).failed).toEqual([]);
      await machine.quit();
    });

    test('pause, resume and quit are seen as events and as states', async () => {
      const { host, machine, seen } = await launched();
      const { next } = eventsOf(machine);
      await machine.resume();
      expect(await next('resumed', 'paused', 'ended')).toEqual({ type: 'resumed' });
      await seen;
      expect(await machine.status()).toBe('running');
      await machine.pause();
      expect(await next('resumed', 'paused', 'ended')).toEqual({ type: 'paused' });
      expect(await machine.status()).toBe('paused');
      await machine.resume();
      expect(await next('resumed', 'paused', 'ended')).toEqual({ type: 'resumed' });
      await machine.quit();
      expect(await next('resumed', 'paused', 'ended')).toMatchObject({ type: 'ended', reason: 'quit' });
      expect(await machine.status()).toBe('shutdown');
      expect(await guestsOf(host)).toBe(0);
    });

    test('a guest that gives up has shut down', async () => {
      const { machine } = await launched({ firmware: alteredFirmware() });
      const { next } = eventsOf(machine);
      await machine.resume();
      expect(await next('ended')).toMatchObject({ reason: 'shutdown' });
      expect(await machine.status()).toBe('shutdown');
      await machine.quit();
    });

    test('what was quit is gone, and may be quit again', async () => {
      const { machine } = await launched();
      await machine.quit();
      await machine.quit();
      await expect(machine.launchMeasurement()).rejects.toBeInstanceOf(UnavailableError);
      await expect(machine.information()).rejects.toBeInstanceOf(UnavailableError);
      await expect(machine.resume()).rejects.toBeInstanceOf(UnavailableError);
      await expect(machine.attestationReport(new Uint8Array(16))).rejects.toBeInstanceOf(UnavailableError);
    });

    test('one machine after the other, each with a session of its own', async () => {
      const { host, launcher, configuration } = await prepared();
      for (const mode of ['sev', 'sev-es', 'sev'] as const) {
        const owner = await makeOwner(host, { mode });
        const machine = await launcher.launch(owner.configuration);
        await machine.resume();
        await machine.quit();
      }
      await (await launcher.launch(configuration)).quit();
      expect(await guestsOf(host)).toBe(0);
    });

    test('machines at the same time have handles of their own', async () => {
      const { host, launcher } = await prepared();
      const owners = await Promise.all([
        makeOwner(host),
        makeOwner(host),
        makeOwner(host, { mode: 'sev-es' }),
      ]);
      const machines = await Promise.all(owners.map(({ configuration }) => launcher.launch(configuration)));
      const handles = await Promise.all(machines.map(async (each) => (await each.information()).handle));
      expect(handles.toSorted()).toEqual([1, 2, 3]);
      for (const [index, machine] of machines.entries()) {
        const { measurement, mnonce } = parseLaunchMeasurement(await machine.launchMeasurement());
        expect(measurement).toEqual(await owners[index]!.expectedMeasurement(machine, mnonce));
        await machine.quit();
      }
    });

    test.each<[string, OwnersWishes]>([
      ['a mode that the policy contradicts', { mode: 'sev-es', policy: policies.sev }],
      ['a firmware that is no whole page', { firmware: buildGuestFirmware().slice(1) }],
      ['no vCPU', { vcpus: 0 }],
    ])('%s is refused before the processor is asked', async (_name, wishes) => {
      const { host, launcher, configuration } = await prepared(wishes);
      await expect(launcher.launch(configuration)).rejects.toBeInstanceOf(InvalidArgumentError);
      expect(await guestsOf(host)).toBe(0);
    });
  });
}

function eventsOf(machine: ConfidentialMachine) {
  const events: MachineEvent[] = [];
  let arrived = deferred();
  machine.onEvent((event) => {
    events.push(event);
    arrived.resolve();
    arrived = deferred();
  });
  return {
    async next(...types: MachineEvent['type'][]): Promise<MachineEvent> {
      for (;;) {
        const wait = arrived.promise;
        const event = events.shift();
        if (event !== undefined && types.includes(event.type)) return event;
        if (event === undefined) await wait;
      }
    },
  };
}

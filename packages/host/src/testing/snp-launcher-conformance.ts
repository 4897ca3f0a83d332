import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import {
  calculateSnpLaunchDigest,
  createIdBlock,
  generateP384,
  InvalidArgumentError,
  parseSnpReport,
  systemRandom,
  UnavailableError,
} from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import type { SnpLaunchConfiguration, SnpLauncher } from '../launch/launcher.js';
import { softwarePlatform } from '../platform/software.js';
import { reportOver, runGuest, snpConfiguration, snpMachine } from './snp-fixture.js';

const text = (value: string) => new TextEncoder().encode(value);
const directBoot = { kernel: text('kernel'), initrd: text('initrd'), commandLine: 'console=ttyS0, quiet' };

/** What every SnpLauncher does, whatever is behind it. `make` gives one that launches on this software machine. */
export function snpLauncherConformance(
  backend: SnpLauncher['backend'],
  make: (host: HostMachine) => SnpLauncher,
): void {
  function prepared() {
    const machine = snpMachine();
    const launcher = make(machine.host);
    const guestCount = async () => (await softwarePlatform(machine.host).snp.status()).guestCount;
    const run = <T>(init: Parameters<typeof runGuest<T>>[1], changes: Partial<SnpLaunchConfiguration> = {}) =>
      runGuest(machine, init, changes, launcher);
    const launch = (changes: Partial<SnpLaunchConfiguration> = {}) =>
      launcher.launchSnp({ ...snpConfiguration, ...changes });
    return { machine, launcher, guestCount, run, launch };
  }

  describe(`SnpLauncher over ${backend}`, () => {
    test('names its backend', () => {
      expect(prepared().launcher.backend).toBe(backend);
    });

    test('a launched machine does not run', async () => {
      const { launch, guestCount } = prepared();
      const machine = await launch();
      expect(await machine.status()).toBe('prelaunch');
      expect(await machine.information()).toEqual({
        apiMajor: 1,
        apiMinor: 55,
        buildId: 24,
        policy: 0x30000n,
        state: 'launch-update',
      });
      await machine.quit();
      expect(await guestCount()).toBe(0);
    });

    test('the guest is what was given, and proves it', async () => {
      const { run } = prepared();
      const configuration = {
        directBoot,
        vcpus: 3,
        policy: 0xb0000n,
        hostData: systemRandom(32),
        guestFeatures: 0x201n,
      };
      const { guest, result } = await run(reportOver(new Uint8Array(64).fill(9)), configuration);
      const report = parseSnpReport((await result).report);
      const { digest } = await calculateSnpLaunchDigest({
        ...snpConfiguration,
        ...configuration,
        kernel: directBoot.kernel,
        initrd: directBoot.initrd,
        append: directBoot.commandLine,
      });
      expect(report).toMatchObject({
        measurement: digest,
        hostData: configuration.hostData,
        reportData: new Uint8Array(64).fill(9),
        policy: { word: 0xb0000n },
      });
      expect(await guest.information()).toMatchObject({ state: 'running', policy: 0xb0000n });
    });

    test.each(['with', 'without'])('an ID block %s an author goes with the guest', async (author) => {
      const { run } = prepared();
      const { digest: launchDigest } = await calculateSnpLaunchDigest(snpConfiguration);
      const idKey = await generateP384();
      const authorKey = author === 'with' ? await generateP384() : undefined;
      const made = await createIdBlock({ launchDigest, guestSvn: 3, idKey, authorKey });
      const idBlock = { block: made.idBlock, authentication: made.idAuthentication };
      const { result } = await run(reportOver(new Uint8Array(64)), { idBlock });
      expect(parseSnpReport((await result).report).guestSvn).toBe(3);
    });

    test('an ID block of another guest does not let this one run', async () => {
      const { launch, guestCount } = prepared();
      const made = await createIdBlock({ launchDigest: systemRandom(48), idKey: await generateP384() });
      const idBlock = { block: made.idBlock, authentication: made.idAuthentication };
      const machine = await launch({ idBlock });
      await expect(machine.resume()).rejects.toMatchObject({
        code: 'firmware-status',
        command: 'SNP_LAUNCH_FINISH',
        statusName: 'BAD_MEASUREMENT',
      });
      await machine.quit();
      expect(await guestCount()).toBe(0);
    });

    test('what the processor refuses at the start is told', async () => {
      const { launch, guestCount } = prepared();
      await expect(launch({ policy: 0x20000n })).rejects.toMatchObject({
        code: 'firmware-status',
        command: 'SNP_LAUNCH_START',
        statusName: 'POLICY_FAILURE',
      });
      expect(await guestCount()).toBe(0);
    });

    test('pause, resume and quit are seen', async () => {
      const { run, guestCount } = prepared();
      const { guest, result, events } = await run(reportOver(new Uint8Array(64)));
      await result;
      await guest.pause();
      expect(await guest.status()).toBe('paused');
      await guest.resume();
      expect(await guest.status()).toBe('running');
      await guest.quit();
      await guest.quit();
      expect(await guest.status()).toBe('shutdown');
      const seen = events.map(({ type }) => type).filter((type) => type !== 'console' && type !== 'booted');
      expect(seen).toEqual(['resumed', 'paused', 'resumed', 'ended']);
      await expect(guest.information()).rejects.toBeInstanceOf(UnavailableError);
      expect(await guestCount()).toBe(0);
    });

    test('what cannot be launched is refused before anything is asked of the processor', async () => {
      const { launch } = prepared();
      await expect(launch({ vcpus: 0 })).rejects.toBeInstanceOf(InvalidArgumentError);
      await expect(launch({ hostData: new Uint8Array(1) })).rejects.toBeInstanceOf(InvalidArgumentError);
    });
  });
}

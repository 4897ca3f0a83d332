import { guestFirmwareProgram, RequestRefusedError } from '@vouchsafe/guest';
import {
  calculateSnpLaunchDigest,
  createIdBlock,
  generateP384,
  InvalidArgumentError,
  idKeyDigest,
  parseSnpReport,
  systemRandom,
  toHex,
  UnavailableError,
  verdict,
} from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import type { SnpLaunchConfiguration } from '../../launch/launcher.js';
import { softwareLauncher } from '../../launch/software-launcher.js';
import { softwarePlatform } from '../../platform/software.js';
import { alteredFirmware } from '../../testing/launch-fixture.js';
import {
  assignedPages,
  guestResult,
  reportOver,
  runGuest,
  type SnpGeneration,
  snpConfiguration,
  snpMachine,
} from '../../testing/snp-fixture.js';

const text = (value: string) => new TextEncoder().encode(value);
const directBoot = { kernel: text('kernel'.repeat(1000)), initrd: text('initrd'), commandLine: 'a, b' };
const reportData = systemRandom(64);
const digestOf = async ({ directBoot: boot, ...configuration }: SnpLaunchConfiguration) => {
  const files = boot && { kernel: boot.kernel, initrd: boot.initrd, append: boot.commandLine };
  return (await calculateSnpLaunchDigest({ ...configuration, ...files })).digest;
};
const failed = (appraisal: Parameters<typeof verdict>[0]) => verdict(appraisal).failed.map(({ id }) => id);
const guestsOf = async (machine: ReturnType<typeof snpMachine>) =>
  (await softwarePlatform(machine.host).snp.status()).guestCount;

describe.each<SnpGeneration>(['milan', 'genoa', 'turin'])('a SEV-SNP guest on %s', (generation) => {
  test('proves from inside what it is, under the root of its chip alone', async () => {
    const machine = snpMachine(generation);
    const configuration = { ...snpConfiguration, directBoot, hostData: systemRandom(32) };
    const { report } = await guestResult(machine, reportOver(reportData), configuration);
    const { hostData } = configuration;
    const measurements = [await digestOf(configuration)];
    const appraisal = await machine.verify(report, { reportData, measurements, hostData, vmpl: 0 });
    expect(failed(appraisal)).toEqual([]);
    expect(appraisal.root?.name).toMatch(/^Vouchsafe Development/);

    const otherwise = await machine.verify(report, { reportData: systemRandom(64), measurements, hostData });
    expect(failed(otherwise)).toEqual(['report.data']);
    const other = snpMachine(generation);
    expect(failed(await other.verify(report))).not.toEqual([]);
  });
});

describe('the launch of a SEV-SNP guest', () => {
  test('boots what was measured, and tells its host so', async () => {
    const machine = snpMachine();
    const { guest, result, events } = await runGuest(
      machine,
      async ({ files, print, openSecrets, snp }) => {
        await print('hello');
        const secrets = await openSecrets().catch((error: { code: string }) => error.code);
        return { commandLine: files?.commandLine, secrets, functions: snp?.cpuid.map(({ eaxIn }) => eaxIn) };
      },
      { directBoot },
    );
    expect(await result).toEqual({
      commandLine: directBoot.commandLine,
      secrets: 'secret-table-absent',
      functions: [0, 1, 0x8000_0000, 0x8000_001f],
    });
    await expect.poll(() => events.map(({ type }) => type)).toEqual(['resumed', 'console', 'booted']);
    expect(await guest.information()).toEqual({
      apiMajor: 1,
      apiMinor: 55,
      buildId: 24,
      policy: 0x30000n,
      state: 'running',
    });
  });

  test('is not over before the guest runs', async () => {
    const machine = snpMachine();
    const guest = await softwareLauncher(machine.host).launchSnp(snpConfiguration);
    expect(await guest.status()).toBe('prelaunch');
    expect(await guest.information()).toMatchObject({ state: 'launch-update' });
    await guest.quit();
    expect(await guest.status()).toBe('shutdown');
    await expect(guest.information()).rejects.toBeInstanceOf(UnavailableError);
    await expect(guest.resume()).rejects.toBeInstanceOf(UnavailableError);
  });

  test('that the policy forbids is refused by the processor, and nothing is left behind', async () => {
    const machine = snpMachine();
    const refused = (policy: bigint) =>
      softwareLauncher(machine.host).launchSnp({ ...snpConfiguration, policy });
    const expected = { code: 'firmware-status', command: 'SNP_LAUNCH_START' };
    // Multithreading is on, the ABI is no 2.0, and bit 17 is one.
    await expect(refused(0x20000n)).rejects.toMatchObject({ ...expected, statusName: 'POLICY_FAILURE' });
    await expect(refused(0x30200n)).rejects.toMatchObject({ ...expected, statusName: 'POLICY_FAILURE' });
    await expect(refused(0x10000n)).rejects.toMatchObject({ ...expected, statusName: 'INVALID_PARAM' });
    expect(await guestsOf(machine)).toBe(0);
    expect(await assignedPages(machine.host)).toEqual([]);
  });

  test.each<[string, Partial<SnpLaunchConfiguration>]>([
    ['host data of another length', { hostData: new Uint8Array(31) }],
    ['no vCPU', { vcpus: 0 }],
    ['a firmware without SEV metadata', { firmware: new Uint8Array(0x1_0000) }],
  ])('with %s does not begin', async (_name, changes) => {
    const machine = snpMachine();
    const launch = softwareLauncher(machine.host).launchSnp({ ...snpConfiguration, ...changes });
    await expect(launch).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(await guestsOf(machine)).toBe(0);
  });

  test('needs memory where the firmware wants it', async () => {
    const machine = snpMachine();
    const launch = softwareLauncher(machine.host).launchSnp({ ...snpConfiguration, memory: 0x4000 });
    await expect(launch).rejects.toMatchObject({ code: 'unavailable', what: 'guest memory' });
    expect(await guestsOf(machine)).toBe(0);
    expect(await assignedPages(machine.host)).toEqual([]);
  });

  test('a guest that finds another image at its reset vector gives up', async () => {
    const machine = snpMachine();
    const init = () => Promise.reject(new Error('it booted'));
    machine.machine.insertGuest(guestFirmwareProgram({ init }));
    const firmware = alteredFirmware();
    const guest = await softwareLauncher(machine.host).launchSnp({ ...snpConfiguration, firmware });
    const ended = new Promise((resolve) =>
      guest.onEvent((event) => event.type === 'ended' && resolve(event)),
    );
    await guest.resume();
    expect(await ended).toMatchObject({ reason: 'shutdown' });
    await guest.quit();
  });

  test('a guest that is gone leaves no page, no guest and no address space id behind', async () => {
    const machine = snpMachine();
    for (const memory of [2, 6, 2]) {
      await guestResult(machine, reportOver(reportData), { memory: memory * 1024 * 1024, vcpus: 2 });
    }
    const guest = await softwareLauncher(machine.host).launchSnp(snpConfiguration);
    expect(guest.asid).toBe(1);
    await guest.quit();
    await guest.quit();
    expect(await guestsOf(machine)).toBe(0);
    expect(await assignedPages(machine.host)).toEqual([]);
  });

  test('guests at the same time have ids, keys and reports of their own', async () => {
    const machine = snpMachine();
    const ids: string[] = [];
    for (const vcpus of [1, 2]) {
      const { result } = await runGuest(machine, reportOver(reportData), { vcpus });
      ids.push(toHex(parseSnpReport((await result).report).reportId));
    }
    expect(new Set(ids).size).toBe(2);
    expect(await guestsOf(machine)).toBe(2);
  });

  test('pause and resume', async () => {
    const machine = snpMachine();
    const { guest, result } = await runGuest(machine, reportOver(reportData));
    await result;
    await guest.pause();
    expect(await guest.status()).toBe('paused');
    await guest.resume();
    expect(await guest.status()).toBe('running');
  });
});

describe('what the owner signed', () => {
  const finish = (statusName: string) => ({
    code: 'firmware-status',
    command: 'SNP_LAUNCH_FINISH',
    statusName,
  });

  async function signed(changes: Partial<Parameters<typeof createIdBlock>[0]> = {}) {
    const [idKey, authorKey] = [await generateP384(), await generateP384()];
    const made = await createIdBlock({
      launchDigest: await digestOf(snpConfiguration),
      familyId: new Uint8Array(16).fill(1),
      imageId: new Uint8Array(16).fill(2),
      guestSvn: 7,
      idKey,
      authorKey,
      ...changes,
    });
    return { idKey, authorKey, idBlock: { block: made.idBlock, authentication: made.idAuthentication } };
  }

  test.each(['with', 'without'])('an ID block of this guest is accepted, %s an author', async (author) => {
    const machine = snpMachine();
    const changes = author === 'with' ? {} : { authorKey: undefined };
    const { idBlock, idKey, authorKey } = await signed(changes);
    const { report } = await guestResult(machine, reportOver(reportData), { idBlock });
    const found = parseSnpReport(report);
    const none = new Uint8Array(48);
    expect(found).toMatchObject({
      guestSvn: 7,
      familyId: new Uint8Array(16).fill(1),
      imageId: new Uint8Array(16).fill(2),
      idKeyDigest: await idKeyDigest(idKey.publicKey),
      authorKeyDigest: author === 'with' ? await idKeyDigest(authorKey.publicKey) : none,
    });
    const idKeyDigests = [await idKeyDigest(idKey.publicKey)];
    expect(failed(await machine.verify(report, { idKeyDigests, minimumGuestSvn: 7 }))).toEqual([]);
    expect(failed(await machine.verify(report, { minimumGuestSvn: 8 }))).toEqual(['report.guest-svn']);
  });

  test.each<[string, string, () => Promise<SnpLaunchConfiguration['idBlock']>]>([
    [
      'for another digest',
      'BAD_MEASUREMENT',
      async () => (await signed({ launchDigest: systemRandom(48) })).idBlock,
    ],
    ['for another policy', 'POLICY_FAILURE', async () => (await signed({ policy: 0xb0000n })).idBlock],
    [
      'that was changed',
      'BAD_SIGNATURE',
      async () => {
        const { idBlock } = await signed();
        return { ...idBlock, block: idBlock.block.with(0x54, 0xff) };
      },
    ],
    [
      'whose ID key another author signed',
      'BAD_SIGNATURE',
      async () => {
        const [own, others] = [await signed(), await signed()];
        const authentication = own.idBlock.authentication.slice();
        authentication.set(others.idBlock.authentication.subarray(0x880), 0x880);
        return { ...own.idBlock, authentication };
      },
    ],
    [
      'without its signatures',
      'INVALID_PARAM',
      async () => ({ ...(await signed()).idBlock, authentication: new Uint8Array(4096) }),
    ],
  ])('an ID block %s does not let the guest run', async (_name, statusName, make) => {
    const machine = snpMachine();
    const idBlock = await make();
    const guest = await softwareLauncher(machine.host).launchSnp({
      ...snpConfiguration,
      ...(idBlock === undefined ? {} : { idBlock }),
    });
    await expect(guest.resume()).rejects.toMatchObject(finish(statusName));
    expect(await guest.status()).toBe('prelaunch');
    await expect(guest.resume()).rejects.toMatchObject(finish(statusName));
    await guest.quit();
    expect(await guestsOf(machine)).toBe(0);
    expect(await assignedPages(machine.host)).toEqual([]);
  });

  test('without the chip’s key there is no report', async () => {
    const machine = snpMachine();
    const refused = guestResult(machine, reportOver(reportData), { vcekDisabled: true });
    await expect(refused).rejects.toBeInstanceOf(RequestRefusedError);
    await expect(refused).rejects.toMatchObject({ status: 0x27 });
  });
});

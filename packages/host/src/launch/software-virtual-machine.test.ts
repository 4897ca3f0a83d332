import type { GuestProgram, GuestView } from '@vouchsafe/firmware/guest-view';
import { bootDeviceExitInformation, bootRequest, ioioExitInformation } from '@vouchsafe/protocol';
import { constantTimeEqual, ghcb, ghcbExitCodes, ghcbValidBitmap, UnavailableError } from '@vouchsafe/sev';
import { describe, expect, test } from 'vitest';
import { allocateHostMemory } from '../platform/host-memory.js';
import { softwarePlatform } from '../platform/software.js';
import { diskKey, launchMachine, makeOwner, type OwnersWishes } from '../testing/launch-fixture.js';
import type { MachineEvent } from './launcher.js';
import { softwareLauncher } from './software-launcher.js';
import type { SoftwareVirtualMachine } from './software-virtual-machine.js';

async function launched(wishes: OwnersWishes = {}, program?: GuestProgram) {
  const { host, seen, insertGuest } = launchMachine();
  if (program !== undefined) insertGuest(program);
  const owner = await makeOwner(host, wishes);
  const vm = await softwareLauncher(host).launch(owner.configuration);
  return { host, owner, seen, vm };
}

function ended(vm: SoftwareVirtualMachine): Promise<MachineEvent> {
  return new Promise((resolve) => {
    vm.onEvent((event) => {
      if (event.type === 'ended') resolve(event);
    });
  });
}

const ghcbAddress = 0x3000;

describe('a guest of the software machine', () => {
  test('console lines and the end of booting are events', async () => {
    const { vm } = await launched();
    const events: MachineEvent[] = [];
    const booted = new Promise<void>((resolve) => {
      vm.onEvent((event) => {
        events.push(event);
        if (event.type === 'booted') resolve();
      });
    });
    await vm.resume();
    await booted;
    expect(events).toEqual([
      { type: 'resumed' },
      expect.objectContaining({ type: 'console' }),
      { type: 'booted' },
    ]);
    await vm.quit();
  });

  test.each(['sev', 'sev-es'] as const)('%s: the host has nothing of the guest in clear', async (mode) => {
    const { host, owner, vm, seen } = await launched({ mode });
    await vm.injectSecret(await owner.packet(vm));
    await vm.resume();
    expect((await seen).diskKey).toEqual(diskKey);
    const whole = await host.memory.read(0, host.memory.size - 0x10_0000);
    expect(contains(whole, diskKey)).toBe(false);
    expect(contains(whole, owner.configuration.firmware.subarray(0, 48))).toBe(false);
    await vm.quit();
  });

  test('quit in the middle of a run leaves nothing behind that later commands trip over', async () => {
    let spinning: (() => void) | undefined;
    const started = new Promise<void>((resolve) => {
      spinning = resolve;
    });
    const { host, vm } = await launched({ mode: 'sev-es' }, async (view) => {
      for (;;) {
        spinning?.();
        await leave(view, {});
      }
    });
    await vm.resume();
    await started;
    await vm.quit();
    expect(await softwarePlatform(host).status()).toMatchObject({ state: 'INIT', guestCount: 0 });
    const room = allocateHostMemory(host, 14 * 1024 * 1024);
    room.free();
  });

  test('address space ids are flushed and used again, and run out', async () => {
    const { host } = launchMachine('naples');
    const owners = await Promise.all(Array.from({ length: 6 }, () => makeOwner(host, { mode: 'sev-es' })));
    const launcher = softwareLauncher(host);
    const launch = (index: number) => launcher.launch({ ...owners[index]!.configuration, memory: 0x2_0000 });
    const vms = [await launch(0), await launch(1), await launch(2), await launch(3), await launch(4)];
    expect(vms.map(({ asid }) => asid)).toEqual([1, 2, 3, 4, 5]);
    await expect(launch(5)).rejects.toMatchObject({ code: 'unavailable', what: 'address space id' });
    expect((await softwarePlatform(host).status()).guestCount).toBe(5);
    await vms[2]!.resume();
    await vms[2]!.quit();
    expect((await launch(5)).asid).toBe(3);
  });

  test('a firmware without room for the hashes cannot boot a kernel, and the launch is taken back', async () => {
    const { host } = launchMachine();
    const directBoot = { kernel: new Uint8Array(100) };
    const owner = await makeOwner(host, { firmware: new Uint8Array(4096), directBoot });
    const error = await softwareLauncher(host)
      .launch(owner.configuration)
      .catch((refusal: unknown) => refusal);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error).toMatchObject({ what: 'firmware' });
    expect((await softwarePlatform(host).status()).guestCount).toBe(0);
  });

  test('an access where the guest has no memory ends it', async () => {
    const { vm } = await launched({}, async (view) => void (await view.readPrivate(0x4000_0000, 16)));
    const end = ended(vm);
    await vm.resume();
    expect(await end).toEqual({
      type: 'ended',
      reason: 'fault',
      detail: 'no memory at guest address 0x40000000',
    });
    await expect(vm.resume()).rejects.toBeInstanceOf(UnavailableError);
    await expect(vm.pause()).rejects.toBeInstanceOf(UnavailableError);
    await vm.quit();
  });

  test('a VMSA that the host changed is not entered', async () => {
    const { host, vm } = await launched({ mode: 'sev-es' });
    const [address] = vm.vmsaAddresses;
    const page = await host.memory.read(address!, 4096);
    await host.memory.write(address!, page.with(0x170, page[0x170]! ^ 1));
    const end = ended(vm);
    await vm.resume();
    expect(await end).toMatchObject({ reason: 'fault', detail: expect.stringContaining('VMSA') });
    await vm.quit();
  });
});

/** A SEV-ES guest leaves with what the test put into the GHCB; the host's answer stands there afterwards. */
async function leave(view: GuestView, block: Partial<Parameters<typeof ghcb.build>[0]>) {
  await view.writeShared(ghcbAddress, ghcb.build(block));
  await view.vmgexit(ghcbAddress);
  return ghcb.parse(await view.readShared(ghcbAddress, ghcb.size));
}

const outTo = (port: number) => ioioExitInformation.build({ size32: true, port });
const ioio = { exitCode: ghcbExitCodes.IOIO, exitInfo1: bootDeviceExitInformation, rax: 0x1000n };
const allValid = ghcbValidBitmap(['exitCode', 'exitInfo1', 'rax']);

describe('VMGEXIT', () => {
  test.each<[string, Partial<Parameters<typeof ghcb.build>[0]>, bigint, bigint]>([
    ['a request of the boot device', { ...ioio, validBitmap: allValid }, 0n, 0n],
    ['an OUT to a port without a device', { ...ioio, exitInfo1: outTo(0x80), validBitmap: allValid }, 0n, 0n],
    ['nothing that is declared valid', ioio, 2n, 4n],
    [
      'a value that is not declared valid',
      { ...ioio, validBitmap: ghcbValidBitmap(['exitCode', 'exitInfo1']) },
      2n,
      5n,
    ],
    ['an IN', { ...ioio, exitInfo1: bootDeviceExitInformation | 1n, validBitmap: allValid }, 2n, 5n],
    [
      'one byte',
      { ...ioio, exitInfo1: ioioExitInformation.build({ size8: true, port: 0x514 }), validBitmap: allValid },
      2n,
      5n,
    ],
    [
      'CPUID, which this host does not serve',
      { exitCode: ghcbExitCodes.CPUID, validBitmap: allValid },
      2n,
      6n,
    ],
  ])('%s is answered', async (_what, block, exitInfo1, exitInfo2) => {
    let answer: Awaited<ReturnType<typeof leave>> | undefined;
    let answered: (() => void) | undefined;
    const done = new Promise<void>((resolve) => {
      answered = resolve;
    });
    const { vm } = await launched({ mode: 'sev-es' }, async (view) => {
      await view.writeShared(0x1000, bootRequest.build({ operation: 'SIZE', item: 'MEMORY' }));
      answer = await leave(view, block);
      answered?.();
    });
    await vm.resume();
    await done;
    expect(answer).toMatchObject({ exitInfo1, exitInfo2, exitCode: block.exitCode });
    await vm.quit();
  });

  test.each([
    ['SHUTDOWN', ghcbExitCodes.SHUTDOWN],
    ['TERMINATE', ghcbExitCodes.TERMINATE],
  ])('%s ends the guest', async (_name, exitCode) => {
    const { vm } = await launched(
      { mode: 'sev-es' },
      async (view) => void (await leave(view, { exitCode, validBitmap: allValid })),
    );
    const end = ended(vm);
    await vm.resume();
    expect(await end).toMatchObject({ reason: 'shutdown' });
    await vm.quit();
  });

  test('a GHCB outside the guest’s memory ends it', async () => {
    const { vm } = await launched({ mode: 'sev-es' }, (view) => view.vmgexit(0x7000_0000));
    const end = ended(vm);
    await vm.resume();
    expect(await end).toMatchObject({ reason: 'fault', detail: expect.stringContaining('GHCB') });
    await vm.quit();
  });
});

function contains(whole: Uint8Array, part: Uint8Array): boolean {
  for (let at = whole.indexOf(part[0]!); at >= 0; at = whole.indexOf(part[0]!, at + 1)) {
    if (constantTimeEqual(whole.subarray(at, at + part.length), part)) return true;
  }
  return false;
}

import { InvalidArgumentError, sevCommands, UnavailableError } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import type { GuestFault, GuestProgram } from '../guest-view.js';
import { HostFault } from '../mailbox.js';
import { expectSuccess, places, TestHypervisor, testMachine } from '../testing/hypervisor.js';
import { resetVmsa } from '../testing/snp-fixture.js';
import { launchedPlaces, launchSnpGuest } from '../testing/snp-launch.js';

const { memory: ram, shared, vmsa, context } = launchedPlaces;
const image = new TextEncoder().encode('sixteen bytes!! '.repeat(512));
const violation = { write: true, encrypted: true, sizeMismatch: false, vmpl: false };

describe('a machine with an SNP guest', () => {
  async function launched(program: GuestProgram = async () => undefined) {
    const failures: unknown[] = [];
    const machine = testMachine({ guestFailed: (error) => failures.push(error) });
    machine.insertGuest(program);
    return { machine, host: machine.host, failures, ...(await launchSnpGuest(machine.host, image)) };
  }

  it('runs it; its host sees ciphertext', async () => {
    const seen: Uint8Array[] = [];
    const { host, control, failures } = await launched(async (view) => {
      seen.push(await view.readPrivate(100, 64));
      await view.pvalidate(0x4000, { size: '4K', validate: true });
      await view.writePrivate(0x4000, image.subarray(0, 64));
      await view.vmgexit(shared.guest);
    });
    expect(await host.enter(control)).toEqual({ reason: 'vmgexit', ghcbGuestAddress: shared.guest });
    expect(seen).toEqual([image.slice(100, 164)]);
    expect(await host.memory.read(ram.system + 0x4000, 64)).not.toEqual(image.slice(0, 64));
    expect(await host.enter(control)).toEqual({ reason: 'hlt' });
    expect(failures).toEqual([]);
  });

  it.each([
    ['the guest’s memory', ram.system + 0x1008],
    ['memory that the guest has not validated', ram.system + 0x8000],
    ['its VMSA', vmsa.system + 0x178],
    ['its Context page', context],
    ['the page before its memory, and into it', ram.system - 8],
  ])('refuses its host to write %s', async (_, address) => {
    const { host, control } = await launched();
    const before = await host.memory.read(address, 16);
    const write = host.memory.write(address, new Uint8Array(16).fill(0xee));
    await expect(write).rejects.toThrow(HostFault);
    const page =
      address < ram.system && address > ram.system - 4096 ? ram.system : address - (address % 4096);
    await expect(write).rejects.toMatchObject({ code: 'host-fault', address: page });
    expect(await host.memory.read(address, 16)).toEqual(before);
    expect(await host.enter(control)).toEqual({ reason: 'hlt' });
  });

  it('lets its host write its own pages', async () => {
    const { host } = await launched();
    await host.memory.write(shared.system, Uint8Array.of(1, 2));
    await host.memory.write(ram.system + ram.length, Uint8Array.of(3));
    expect(await host.memory.read(shared.system, 2)).toEqual(Uint8Array.of(1, 2));
  });

  it('has no reverse map table before SNP_INIT', async () => {
    const { reverseMap, memory } = testMachine().host;
    const request = { assigned: false, size: '4K', immutable: false, guestAddress: 0, asid: 0 } as const;
    await expect(reverseMap.update(0, request)).rejects.toThrow(UnavailableError);
    await expect(reverseMap.smash(0)).rejects.toThrow(UnavailableError);
    await expect(reverseMap.read(0)).rejects.toThrow(UnavailableError);
    await memory.write(ram.system, image);
  });

  it('answers its host what the table says', async () => {
    const { host, control } = await launched();
    expect(await host.reverseMap.read(ram.system + 0x1000)).toEqual({
      assigned: true,
      size: '4K',
      immutable: false,
      guestAddress: 0x1000,
      asid: control.asid,
    });
    expect(await host.reverseMap.smash(ram.system)).toBe(7);
    await expect(host.reverseMap.read(host.memory.size)).rejects.toThrow(InvalidArgumentError);
  });

  it('takes it away with DECOMMISSION, where it stands and while it runs', async () => {
    const faults: string[] = [];
    const first = await launched(async (view) => {
      await view.vmgexit(shared.guest).catch((error: GuestFault) => faults.push(error.fault));
    });
    await first.host.enter(first.control);
    await first.decommission();
    await new Promise<void>((resolve) => setImmediate(resolve));
    expect(faults).toEqual(['machine-gone']);
    expect(await first.host.enter(first.control)).toMatchObject({ reason: 'invalid' });

    for (const end of ['decommission', 'shutdown'] as const) {
      const second = await launched(() => new Promise<void>(() => undefined));
      const running = second.host.enter(second.control);
      if (end === 'shutdown') await second.machine.close();
      else await second.decommission();
      expect(await running).toMatchObject({ reason: 'invalid' });
    }
  });
});

describe('SEV and SEV-ES guests beside it', () => {
  async function beside(mode: 'sev' | 'sev-es', program: GuestProgram) {
    const failures: unknown[] = [];
    const machine = testMachine({ guestFailed: (error) => failures.push(error) });
    const snp = await launchSnpGuest(machine.host, image);
    const hypervisor = new TestHypervisor(machine.host);
    await hypervisor.start(mode);
    const handle = await hypervisor.newGuest(mode === 'sev-es' ? 5 : 1);
    const asid = mode === 'sev-es' ? 9 : 200;
    machine.insertGuest(program, asid);
    expectSuccess(await hypervisor.activate(handle, asid));
    return { machine, host: machine.host, snp, hypervisor, handle, asid, failures };
  }

  it('read what the host gives them, and write what is the hypervisor’s alone', async () => {
    const seen: Uint8Array[] = [];
    const { hypervisor, host, handle, asid } = await beside('sev', async (view) => {
      await view.writePrivate(0x10, image.subarray(0, 16));
      seen.push(await view.readPrivate(0x10, 16), await view.readShared(0x2000, 16));
      await view.writeShared(0x1ff8, image.subarray(0, 16));
    });
    await hypervisor.measurement(handle);
    expectSuccess(await hypervisor.finish(handle));
    const own = { guestAddress: 0, systemAddress: 0x70_0000, length: 0x2000 };
    const stolen = { guestAddress: 0x2000, systemAddress: ram.system, length: 0x1000 };
    const control = { asid, nestedPages: [own, stolen] };
    const ciphertext = await host.memory.read(ram.system, 16);
    const plain = { ...violation, encrypted: false };
    expect(await host.enter(control)).toEqual({ reason: 'npf', guestAddress: 0x2000, violation: plain });
    expect(seen).toEqual([image.slice(0, 16), ciphertext]);
    expect(await host.memory.read(0x70_1ff8, 8)).toEqual(new Uint8Array(8));
  });

  it('cannot do what takes SEV-SNP', async () => {
    const faults: string[] = [];
    const fault = (error: GuestFault) => faults.push(error.fault);
    const { hypervisor, host, handle, asid, failures } = await beside('sev', async (view) => {
      expect([view.snp, view.vmpl]).toEqual([false, 0]);
      await view.pvalidate(0, { size: '4K', validate: true }).catch(fault);
      await view.rmpadjust(0, { targetVmpl: 1, permissions: 1, vmsa: false }).catch(fault);
      await view.place(async () => undefined, 0).catch(fault);
      await view.msrProtocol(2n).catch(fault);
    });
    await hypervisor.measurement(handle);
    expectSuccess(await hypervisor.finish(handle));
    expect(await host.enter({ asid, nestedPages: [] })).toMatchObject({ reason: 'hlt' });
    expect(faults).toEqual(['not-available', 'not-available', 'not-available', 'not-available']);
    expect(failures).toEqual([]);
  });

  it('keep their VMSA while they run', async () => {
    let updates: Promise<number>[] = [];
    const { hypervisor, host, handle, asid } = await beside('sev-es', async () => {
      const stolen = { assigned: true, size: '4K', immutable: false, guestAddress: 0, asid: 3 } as const;
      updates = [host.reverseMap.update(places.vmsa, stolen)];
      await updates[0];
    });
    expectSuccess(await hypervisor.loadVmsa(handle, resetVmsa({ sevFeatures: 0n })));
    await hypervisor.measurement(handle);
    expectSuccess(await hypervisor.finish(handle));
    expect(await host.enter({ asid, nestedPages: [], vmsaAddress: places.vmsa })).toEqual({ reason: 'hlt' });
    expect(await Promise.all(updates)).toEqual([3]);
    expect(await host.reverseMap.read(places.vmsa)).toMatchObject({ assigned: false });
  });

  it('have the GHCB MSR with SEV-ES, and keep their VMSA in a page of the hypervisor’s', async () => {
    const answers: bigint[] = [];
    const { hypervisor, host, handle, asid, snp } = await beside('sev-es', async (view) => {
      answers.push(await view.msrProtocol(2n));
    });
    expectSuccess(await hypervisor.loadVmsa(handle, resetVmsa({ sevFeatures: 0n })));
    await hypervisor.measurement(handle);
    expectSuccess(await hypervisor.finish(handle));
    const control = { asid, nestedPages: [], vmsaAddress: places.vmsa };
    expect(await host.enter(control)).toEqual({ reason: 'msr-protocol', request: 2n });
    await snp.rmpUpdate(places.vmsa, { asid: snp.control.asid, guestAddress: 0x100_0000 });
    expect(await host.enter({ ...control, ghcbMsr: 1n })).toMatchObject({
      reason: 'invalid',
      detail: expect.stringContaining('hypervisor'),
    });
    await snp.rmpUpdate(places.vmsa, { assigned: false });
    expect(await host.enter({ ...control, ghcbMsr: 1n })).toEqual({ reason: 'hlt' });
    expect(answers).toEqual([1n]);
    expect(await host.submit(sevCommands.SHUTDOWN, 0)).toBe(0);
  });
});

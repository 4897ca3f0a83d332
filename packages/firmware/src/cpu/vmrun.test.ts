import { buildSecretPacket, type LaunchSession } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import type { GuestFault } from '../guest-view.js';
import { expectSuccess, places, seededRandom, TestHypervisor, testMachine } from '../testing/hypervisor.js';
import { idle, image, launched, nestedPages, resetVmsa } from '../testing/launched-guest.js';

describe('VMRUN', () => {
  it('does not enter before LAUNCH_FINISH, nor under an ASID that nobody owns', async () => {
    const { hypervisor, handle, control } = await launched('sev', idle, { finish: false });
    expect(await hypervisor.host.enter(control)).toMatchObject({
      reason: 'invalid',
      detail: expect.stringContaining('LSECRET'),
    });
    expectSuccess(await hypervisor.finish(handle));
    expect(await hypervisor.host.enter({ ...control, asid: 201 })).toMatchObject({ reason: 'invalid' });
    expect(await hypervisor.host.enter({ ...control, asid: 0 })).toMatchObject({ reason: 'invalid' });
    expect(await hypervisor.host.enter(control)).toMatchObject({ reason: 'hlt' });
    expectSuccess(await hypervisor.deactivate(handle));
    expect(await hypervisor.host.enter(control)).toMatchObject({ reason: 'invalid' });
  });

  it('wants a VMSA for SEV-ES guests and for no others', async () => {
    const plain = await launched('sev', idle);
    expect(await plain.hypervisor.host.enter({ ...plain.control, vmsaAddress: places.vmsa })).toMatchObject({
      reason: 'invalid',
    });
    const encrypted = await launched('sev-es', idle);
    const { asid } = encrypted.control;
    for (const vmsaAddress of [places.vmsa + 8, 0x80_0000, places.trusted]) {
      expect(await encrypted.hypervisor.host.enter({ asid, nestedPages, vmsaAddress })).toMatchObject({
        reason: 'invalid',
      });
    }
    expect(await encrypted.hypervisor.host.enter({ asid, nestedPages })).toMatchObject({ reason: 'invalid' });
    expect(await encrypted.hypervisor.host.enter(encrypted.control)).toMatchObject({ reason: 'hlt' });
  });

  it('does not enter a vCPU that runs', async () => {
    const { hypervisor, control } = await launched('sev', async () => new Promise<void>(() => undefined));
    const first = hypervisor.host.enter(control);
    expect(await hypervisor.host.enter(control)).toMatchObject({
      reason: 'invalid',
      detail: 'the vCPU is running already',
    });
    expectSuccess(await hypervisor.call('SHUTDOWN'));
    expect(await first).toMatchObject({ reason: 'invalid' });
  });

  it('parks vCPUs that are not the boot vCPU', async () => {
    let started = 0;
    const run = await launched('sev-es', async () => void started++, { finish: false });
    expect(started).toBe(0);
    const application = await launched('sev-es', async () => void started++, {
      page: resetVmsa('application'),
    });
    expect(await application.hypervisor.host.enter(application.control)).toEqual({ reason: 'hlt' });
    expect(started).toBe(0);
    expectSuccess(await run.hypervisor.finish(run.handle));
    expect(await run.hypervisor.host.enter(run.control)).toEqual({ reason: 'hlt' });
    expect(started).toBe(1);
  });
});

describe('guest programs', () => {
  it('have the exits of their kind of guest', async () => {
    const failures: unknown[] = [];
    const plain = await launched('sev', (view) => view.vmgexit(0), { failures });
    expect(await plain.hypervisor.host.enter(plain.control)).toEqual({ reason: 'shutdown' });
    const encrypted = await launched('sev-es', (view) => view.out(1, 1), { failures });
    expect(await encrypted.hypervisor.host.enter(encrypted.control)).toEqual({ reason: 'shutdown' });
    expect(await encrypted.hypervisor.host.enter(encrypted.control)).toEqual({ reason: 'shutdown' });
    expect(failures.map((error) => (error as GuestFault).fault)).toEqual(['not-available', 'not-available']);
  });

  it('shut down, and stay so', async () => {
    const { hypervisor, control } = await launched('sev', (view) => view.shutdown());
    expect(await hypervisor.host.enter(control)).toEqual({ reason: 'shutdown' });
    expect(await hypervisor.host.enter(control)).toEqual({ reason: 'shutdown' });
  });

  it('can do nothing between exit and entry', async () => {
    let attempt: Promise<unknown> | undefined;
    const { hypervisor, control } = await launched('sev', async (view) => {
      const left = view.halt();
      attempt = view.readPrivate(0, 16).catch((error: unknown) => error);
      await left;
    });
    await hypervisor.host.enter(control);
    expect(await attempt).toMatchObject({ code: 'guest-fault', fault: 'not-running' });
  });

  it('leave once at a time', async () => {
    let second: Promise<unknown> | undefined;
    const { hypervisor, control } = await launched('sev', async (view) => {
      const first = view.halt();
      second = view.out(1, 1).catch((error: unknown) => error);
      await first;
    });
    expect(await hypervisor.host.enter(control)).toEqual({
      reason: 'hlt',
      saveArea: { rip: 0xfff1, rax: 0n },
    });
    expect(await second).toMatchObject({ fault: 'not-running' });
  });

  it.each(['DECOMMISSION', 'SHUTDOWN', 'close'] as const)('lose their machine with %s', async (how) => {
    const ended: unknown[] = [];
    const { machine, hypervisor, handle, control } = await launched('sev', async (view) => {
      await view.halt().catch((error: unknown) => ended.push(error));
      await view.readPrivate(0, 16).catch((error: unknown) => ended.push(error));
    });
    await hypervisor.host.enter(control);
    if (how === 'DECOMMISSION') {
      expectSuccess(await hypervisor.deactivate(handle));
      expectSuccess(await hypervisor.decommission(handle));
    } else if (how === 'SHUTDOWN') expectSuccess(await hypervisor.call('SHUTDOWN'));
    else await machine.close();
    await new Promise(setImmediate);
    expect(ended).toMatchObject([{ fault: 'machine-gone' }, { fault: 'machine-gone' }]);
    expect(await hypervisor.host.enter(control)).toMatchObject({ reason: 'invalid' });
  });

  it('go on where they were after their guest got another ASID', async () => {
    const steps: number[] = [];
    const { hypervisor, handle, control } = await launched('sev', async (view) => {
      steps.push(1);
      await view.halt();
      steps.push(2);
    });
    await hypervisor.host.enter(control);
    expectSuccess(await hypervisor.deactivate(handle));
    expectSuccess(await hypervisor.activate(handle, 300));
    expect(await hypervisor.host.enter({ ...control, asid: 300 })).toMatchObject({ reason: 'hlt' });
    expect(steps).toEqual([1, 2]);
  });

  it('are inserted for all guests, or for the owner of an ASID', async () => {
    const ran: string[] = [];
    const { machine, hypervisor, control } = await launched('sev', async () => void ran.push('any'));
    machine.insertGuest(async () => void ran.push('mine'), control.asid);
    await hypervisor.host.enter(control);
    expect(ran).toEqual(['mine']);
  });
});

describe('an injected secret', () => {
  it('is plaintext in the guest and ciphertext to the host', async () => {
    const seen: Uint8Array[] = [];
    const machine = testMachine();
    machine.insertGuest(async (view) => void seen.push(await view.readPrivate(0x3000, 32)));
    const hypervisor = new TestHypervisor(machine.host);
    await hypervisor.start();
    const session: LaunchSession = await hypervisor.ownerSession(1);
    const handle = await hypervisor.newGuest(1, { session });
    expectSuccess(await hypervisor.activate(handle, 200));
    expectSuccess(await hypervisor.load(handle, places.image, image));
    const { measurement } = await hypervisor.measurement(handle);
    const plaintext = seededRandom('disk key')(32);
    const packet = await buildSecretPacket({
      ...session,
      apiMajor: 1,
      apiMinor: 55,
      measurement,
      iv: new Uint8Array(16),
      plaintext,
    });
    expectSuccess(await hypervisor.inject(handle, packet, places.image + 0x3000));
    expect(await hypervisor.host.memory.read(places.image + 0x3000, 32)).not.toEqual(plaintext);
    expectSuccess(await hypervisor.finish(handle));
    await hypervisor.host.enter({ asid: 200, nestedPages });
    expect(seen).toEqual([plaintext]);
  });
});

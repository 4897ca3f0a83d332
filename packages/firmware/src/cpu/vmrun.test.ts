import {
  attestationBuffer,
  buildResetVmsa,
  buildSecretPacket,
  equalBytes,
  fromHex,
  ghcb,
  type LaunchSession,
  toHex,
  vmsa,
} from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import type { GuestFault, GuestProgram, GuestView } from '../guest-view.js';
import type { SoftwareMachine } from '../machine.js';
import { expectSuccess, places, seededRandom, TestHypervisor, testMachine } from '../testing/hypervisor.js';

const image = new TextEncoder().encode('sixteen bytes!! '.repeat(512));
const resetVmsa = (cpu: 'boot' | 'application' = 'boot') =>
  buildResetVmsa({ vcpuSignature: 0xa00f11, cpu, resetAddress: 0x80_b004, fpu: 'zero' });
const nestedPages = [
  { guestAddress: 0, systemAddress: places.image, length: 0x8000 },
  { guestAddress: 0x10_0000, systemAddress: places.ghcb, length: 0x4000 },
];
const sharedPage = 0x10_0000;

interface Running {
  readonly machine: SoftwareMachine;
  readonly hypervisor: TestHypervisor;
  readonly handle: number;
  readonly control: { asid: number; nestedPages: typeof nestedPages; vmsaAddress?: number };
}

interface LaunchOptions {
  readonly policy?: number;
  readonly finish?: boolean;
  readonly page?: Uint8Array;
  readonly failures?: unknown[];
}

async function launched(
  mode: 'sev' | 'sev-es',
  program: GuestProgram,
  options: LaunchOptions = {},
): Promise<Running> {
  const { failures = [], finish = true, policy = mode === 'sev-es' ? 5 : 1 } = options;
  const machine = testMachine({ guestFailed: (error) => failures.push(error) });
  machine.insertGuest(program);
  const hypervisor = new TestHypervisor(machine.host);
  await hypervisor.start(mode);
  const handle = await hypervisor.newGuest(policy);
  const asid = mode === 'sev-es' ? 9 : 200;
  expectSuccess(await hypervisor.activate(handle, asid));
  expectSuccess(await hypervisor.load(handle, places.image, image));
  if (mode === 'sev-es') expectSuccess(await hypervisor.loadVmsa(handle, options.page ?? resetVmsa()));
  await hypervisor.measurement(handle);
  if (finish) expectSuccess(await hypervisor.finish(handle));
  return {
    machine,
    hypervisor,
    handle,
    control: { asid, nestedPages, ...(mode === 'sev-es' ? { vmsaAddress: places.vmsa } : {}) },
  };
}

const idle: GuestProgram = async (view) => {
  for (;;) await view.halt();
};

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

describe('a guest’s memory', () => {
  it('is plaintext inside and ciphertext outside; shared pages are plaintext for both', async () => {
    const seen: Uint8Array[] = [];
    const { hypervisor, control } = await launched('sev-es', async (view) => {
      seen.push(await view.readPrivate(3, 40));
      await view.writePrivate(0x4003, image.subarray(0, 40));
      await view.writeShared(sharedPage + 5, image.subarray(0, 40));
      await view.vmgexit(sharedPage);
      seen.push(await view.readShared(sharedPage, 4));
    });
    await hypervisor.host.enter(control);
    const { memory } = hypervisor.host;
    expect(equalBytes(await memory.read(places.image + 0x4003, 40), image.subarray(0, 40))).toBe(false);
    expect(await memory.read(places.ghcb + 5, 40)).toEqual(image.slice(0, 40));
    await memory.write(places.ghcb, Uint8Array.of(1, 2, 3, 4));
    await hypervisor.host.enter(control);
    expect(seen).toEqual([image.slice(3, 43), Uint8Array.of(1, 2, 3, 4)]);
  });

  it('looks different at each address to the host, though the plaintext repeats', async () => {
    const { hypervisor } = await launched('sev', idle);
    const ciphertext = await hypervisor.host.memory.read(places.image, image.length);
    const blocks = Array.from({ length: image.length / 16 }, (_, i) =>
      toHex(ciphertext.subarray(16 * i, 16 * i + 16)),
    );
    expect(new Set(blocks).size).toBe(blocks.length);
  });

  it('turns to noise where the host moved, swapped or changed ciphertext', async () => {
    const seen: Uint8Array[] = [];
    const { hypervisor, control } = await launched('sev', async (view) => {
      seen.push(await view.readPrivate(0, 48));
    });
    const { memory } = hypervisor.host;
    await memory.write(places.image, await memory.read(places.image + 16, 16));
    const changed = await memory.read(places.image + 16, 16);
    changed[0]! ^= 1;
    await memory.write(places.image + 16, changed);
    await hypervisor.host.enter(control);
    expect(seen[0]!.subarray(0, 16)).not.toEqual(image.subarray(0, 16));
    expect(seen[0]!.subarray(16, 32)).not.toEqual(image.subarray(16, 32));
    expect(seen[0]!.subarray(32)).toEqual(image.subarray(32, 48));
  });

  it('takes old ciphertext back in place, and pages under another address of the guest (limit of SEV and SEV-ES)', async () => {
    const seen: string[] = [];
    const text = async (view: GuestView, at: number) =>
      new TextDecoder().decode(await view.readPrivate(at, 16));
    const { hypervisor, control } = await launched('sev-es', async (view) => {
      await view.writePrivate(0x1000, new TextEncoder().encode('balance: 1000000'));
      await view.halt();
      await view.writePrivate(0x1000, new TextEncoder().encode('balance: 0000000'));
      await view.halt();
      seen.push(await text(view, 0x1000));
      await view.halt();
      seen.push(await text(view, 0x2000));
    });
    const { host } = hypervisor;
    await host.enter(control);
    const old = await host.memory.read(places.image + 0x1000, 16);
    await host.enter(control);
    await host.memory.write(places.image + 0x1000, old);
    await host.enter(control);
    const remapped = [
      { guestAddress: 0, systemAddress: places.image, length: 0x2000 },
      { guestAddress: 0x2000, systemAddress: places.image + 0x1000, length: 0x1000 },
    ];
    await host.enter({ ...control, nestedPages: remapped });
    expect(seen).toEqual(['balance: 1000000', 'balance: 1000000']);
  });

  it('leaves to the host where nothing is mapped, and goes on when something is', async () => {
    const seen: Uint8Array[] = [];
    const { hypervisor, control } = await launched('sev-es', async (view) => {
      await view.writePrivate(0x7ffe, Uint8Array.of(1, 2, 3, 4));
      seen.push(await view.readPrivate(0x7ffe, 4));
    });
    const { host } = hypervisor;
    const before = await host.memory.read(places.image + 0x7ff0, 16);
    expect(await host.enter(control)).toEqual({ reason: 'npf', guestAddress: 0x8000 });
    expect(await host.memory.read(places.image + 0x7ff0, 16)).toEqual(before);
    const trusted = { guestAddress: 0x8000, systemAddress: places.trusted, length: 4096 };
    expect(await host.enter({ ...control, nestedPages: [...nestedPages, trusted] })).toMatchObject({
      reason: 'npf',
    });
    const beyond = { ...trusted, systemAddress: 0x80_0000 };
    expect(await host.enter({ ...control, nestedPages: [...nestedPages, beyond] })).toMatchObject({
      reason: 'npf',
    });
    const good = { ...trusted, systemAddress: 0x60_0000 };
    expect(await host.enter({ ...control, nestedPages: [...nestedPages, good] })).toMatchObject({
      reason: 'hlt',
    });
    expect(seen).toEqual([Uint8Array.of(1, 2, 3, 4)]);
  });
});

describe('registers without SEV-ES', () => {
  it('are the host’s to see and to change at each exit (limit)', async () => {
    const seen: bigint[] = [];
    const { hypervisor, control } = await launched('sev', async (view) => {
      view.registers.rax = 0x5ec2e7n;
      await view.out(0x3f8, 0x41);
      seen.push(view.registers.rax);
    });
    const exit = await hypervisor.host.enter(control);
    expect(exit).toEqual({
      reason: 'ioio',
      port: 0x3f8,
      value: 0x41,
      saveArea: { rip: 0xfff1, rax: 0x5ec2e7n },
    });
    await hypervisor.host.enter({ ...control, saveArea: { rip: 0xfff1, rax: 0xbadn } });
    expect(seen).toEqual([0xbadn]);
  });
});

describe('registers with SEV-ES', () => {
  const secret = 0x1122_3344_5566_7788n;
  const keepsSecret: GuestProgram = async (view) => {
    view.registers.rbx = secret;
    for (let i = 0n; ; i++) {
      view.registers.rcx = i;
      await view.vmgexit(sharedPage);
    }
  };
  const readVmsa = (run: Running) => run.hypervisor.host.memory.read(places.vmsa, 4096);
  const writeVmsa = (run: Running, page: Uint8Array) => run.hypervisor.host.memory.write(places.vmsa, page);

  it('start from the VMSA that was measured', async () => {
    const page = resetVmsa();
    new DataView(page.buffer).setBigUint64(vmsa.offsetOf('rsp'), 0xabcn, true);
    const seen: bigint[] = [];
    const { hypervisor, control } = await launched(
      'sev-es',
      async (view) => void seen.push(view.registers.rdx, view.registers.rsp, BigInt(view.registers.rip)),
      { page },
    );
    await hypervisor.host.enter(control);
    expect(seen).toEqual([0xa00f11n, 0xabcn, 0xfff0n]);
  });

  it('are nowhere in what the host can see', async () => {
    const run = await launched('sev-es', keepsSecret);
    expect(await run.hypervisor.host.enter(run.control)).toEqual({
      reason: 'vmgexit',
      ghcbGuestAddress: sharedPage,
    });
    const pattern = toHex(fromHex('8877665544332211'));
    for (let at = 0; at < run.hypervisor.host.memory.size; at += 0x10_0000) {
      if (at === places.trusted) continue;
      expect(toHex(await run.hypervisor.host.memory.read(at, 0x10_0000))).not.toContain(pattern);
    }
  });

  it('survive exits, and the page changes at each', async () => {
    const seen: bigint[] = [];
    const run = await launched('sev-es', async (view) => {
      view.registers.rbx = secret;
      await view.vmgexit(sharedPage);
      seen.push(view.registers.rbx);
      await view.vmgexit(sharedPage);
    });
    await run.hypervisor.host.enter(run.control);
    const first = await readVmsa(run);
    await run.hypervisor.host.enter(run.control);
    expect(seen).toEqual([secret]);
    expect(await readVmsa(run)).not.toEqual(first);
  });

  it('cannot be changed after launch: any bit in the protected part of the page makes VMRUN invalid', async () => {
    const run = await launched('sev-es', keepsSecret);
    await run.hypervisor.host.enter(run.control);
    const page = await readVmsa(run);
    for (const at of [0, 0x178, 0x1f8, 0x318, 0x380, 0x388, 0x3e8, 0x408, 0xfb0]) {
      const changed = page.slice();
      changed[at]! ^= 0x40;
      await writeVmsa(run, changed);
      expect(await run.hypervisor.host.enter(run.control)).toEqual({
        reason: 'invalid',
        detail: 'the integrity check of the VMSA failed',
      });
    }
    await writeVmsa(run, page);
    expect(await run.hypervisor.host.enter(run.control)).toMatchObject({ reason: 'vmgexit' });
  });

  it('cannot be put back: an older VMSA in its own place makes VMRUN invalid', async () => {
    const run = await launched('sev-es', keepsSecret);
    const atLaunch = await readVmsa(run);
    await run.hypervisor.host.enter(run.control);
    const older = await readVmsa(run);
    await run.hypervisor.host.enter(run.control);
    for (const replayed of [atLaunch, older]) {
      const latest = await readVmsa(run);
      await writeVmsa(run, replayed);
      expect(await run.hypervisor.host.enter(run.control)).toMatchObject({ reason: 'invalid' });
      await writeVmsa(run, latest);
      expect(await run.hypervisor.host.enter(run.control)).toMatchObject({ reason: 'vmgexit' });
    }
  });

  it('cannot be swapped: another vCPU’s VMSA, moved, or a page of zeros is invalid', async () => {
    const run = await launched('sev-es', keepsSecret);
    const other = places.vmsa + 0x1000;
    await run.hypervisor.host.memory.write(other, await readVmsa(run));
    expect(await run.hypervisor.host.enter({ ...run.control, vmsaAddress: other })).toMatchObject({
      reason: 'invalid',
    });
    await run.hypervisor.host.memory.write(other, new Uint8Array(4096));
    expect(await run.hypervisor.host.enter({ ...run.control, vmsaAddress: other })).toMatchObject({
      reason: 'invalid',
    });
    await run.hypervisor.host.memory.write(other, resetVmsa());
    expect(await run.hypervisor.host.enter({ ...run.control, vmsaAddress: other })).toMatchObject({
      reason: 'invalid',
    });
    expect(await run.hypervisor.host.enter(run.control)).toMatchObject({ reason: 'vmgexit' });
  });

  it('altered before launch change the measured digest', async () => {
    const honest = await launched('sev-es', idle, { finish: false });
    const altered = resetVmsa();
    altered[0x178]! ^= 0x10;
    const hostile = await launched('sev-es', idle, { page: altered, finish: false });
    const digestOf = async ({ hypervisor, handle }: Running) => {
      const request = { handle, address: BigInt(places.answer), mnonce: new Uint8Array(16), length: 0xd0 };
      expectSuccess(await hypervisor.call('ATTESTATION', [attestationBuffer, request]));
      return toHex(await hypervisor.host.memory.read(places.answer + 0x10, 32));
    };
    expect(await digestOf(hostile)).not.toBe(await digestOf(honest));
    expect(await digestOf(await launched('sev-es', idle, { finish: false }))).toBe(await digestOf(honest));
  });

  it('are exchanged through the GHCB only', async () => {
    const answers: bigint[] = [];
    const run = await launched('sev-es', async (view) => {
      await view.writeShared(sharedPage, ghcb.build({ rax: 7n }));
      await view.vmgexit(sharedPage);
      answers.push(ghcb.parse(await view.readShared(sharedPage, 4096)).rax);
    });
    await run.hypervisor.host.enter(run.control);
    await run.hypervisor.host.memory.write(places.ghcb, ghcb.build({ rax: 8n }));
    await run.hypervisor.host.enter(run.control);
    expect(answers).toEqual([8n]);
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

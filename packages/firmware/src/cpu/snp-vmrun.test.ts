import { vmsa } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import type { GuestProgram, GuestView } from '../guest-view.js';
import { resetVmsa, SnpFixture, snpPlaces } from '../testing/snp-fixture.js';
import { faultOf, gate, steps, system, violation } from '../testing/snp-programs.js';

const { memory: ram, shared, bootVmsa } = snpPlaces;

describe('VMRUN of an SNP guest', () => {
  it('enters the boot vCPU at VMPL 0, and keeps its registers from the host', async () => {
    const fixture = new SnpFixture(async (view) => {
      expect([view.snp, view.encryptedState, view.vmpl, view.registers.rip]).toEqual([true, true, 0, 0xfff0]);
      view.registers.rbx = 0x1122_3344_5566_7788n;
      await view.vmgexit(shared.guest);
      expect(view.registers.rbx).toBe(0x1122_3344_5566_7788n);
    });
    const before = fixture.memory.read(bootVmsa.system, 4096);
    expect(await fixture.enter()).toEqual({ reason: 'vmgexit', ghcbGuestAddress: shared.guest });
    expect(fixture.guest.hasRun).toBe(true);
    const ciphertext = fixture.memory.read(bootVmsa.system, 4096);
    expect(ciphertext).not.toEqual(before);
    expect(vmsa.parse(ciphertext).rbx).not.toBe(0x1122_3344_5566_7788n);
    expect(fixture.vmsa(bootVmsa.system)).toMatchObject({ rbx: 0x1122_3344_5566_7788n, rip: 0xfff4n });
    expect(await fixture.enter()).toEqual({ reason: 'hlt' });
    expect(fixture.failures).toEqual([]);
  });

  it('does not enter before LAUNCH_FINISH', async () => {
    const fixture = new SnpFixture();
    fixture.guest.state = 'LAUNCH';
    expect(await fixture.enter()).toMatchObject({
      reason: 'invalid',
      detail: expect.stringContaining('LAUNCH'),
    });
    expect(fixture.guest.hasRun).toBe(false);
  });

  it.each<[string, (fixture: SnpFixture) => number]>([
    ['lies nowhere', () => 8 * 1024 * 1024],
    ['is no page', () => bootVmsa.system + 16],
    ['is a page of the host’s', () => 0x1000],
    ['is a page of data', () => ram.system],
    [
      'is another guest’s',
      (fixture) => {
        const asid = 6;
        fixture.own(bootVmsa.system, bootVmsa.guest, 'Guest-Valid', { asid, vmsa: true });
        return bootVmsa.system;
      },
    ],
    [
      'does not say SNPActive',
      (fixture) => {
        fixture.launchVmsa(bootVmsa.system, resetVmsa({ sevFeatures: 2n }));
        return bootVmsa.system;
      },
    ],
    [
      'names a VMPL that there is not',
      (fixture) => {
        fixture.launchVmsa(bootVmsa.system, resetVmsa({ vmpl: 4 }));
        return bootVmsa.system;
      },
    ],
  ])('refuses a VMSA that %s', async (_, prepare) => {
    const fixture = new SnpFixture(() => Promise.reject(new Error('ran')));
    expect(await fixture.enter(prepare(fixture))).toMatchObject({ reason: 'invalid' });
    expect(fixture.failures).toEqual([]);
  });

  it('wants a VMSA', async () => {
    const fixture = new SnpFixture();
    const control = { asid: 5, nestedPages: fixture.nestedPages };
    const exit = await fixture.cores.enter(fixture.platform!, fixture.guest, control);
    expect(exit).toMatchObject({ reason: 'invalid' });
  });

  it('holds the VMSA while the vCPU runs', async () => {
    const { opened, open } = gate();
    const fixture = new SnpFixture(() => opened);
    const running = fixture.enter();
    expect(await fixture.enter()).toMatchObject({
      reason: 'invalid',
      detail: expect.stringContaining('running'),
    });
    expect(fixture.take(bootVmsa.system)).toBe(3);
    open();
    expect(await running).toEqual({ reason: 'hlt' });
    expect(fixture.take(bootVmsa.system)).toBe(0);
  });

  it('does not run a VMSA that went through the host’s hands, be it unchanged', async () => {
    const fixture = new SnpFixture(steps(async () => undefined));
    const old = fixture.memory.read(bootVmsa.system, 4096);
    expect(await fixture.enter()).toMatchObject({ reason: 'vmgexit' });
    expect(fixture.reverseMap.firstAssigned({ address: bootVmsa.system, length: 1 })).toBe(bootVmsa.system);
    expect(fixture.take(bootVmsa.system)).toBe(0);
    fixture.memory.write(bootVmsa.system, old);
    expect(fixture.assign(bootVmsa.system, bootVmsa.guest)).toBe(0);
    expect(await fixture.enter()).toMatchObject({
      reason: 'invalid',
      detail: expect.stringContaining('no VMSA'),
    });
  });

  it('carries requests and answers in the GHCB MSR', async () => {
    const answers: bigint[] = [];
    const fixture = new SnpFixture(async (view) => {
      answers.push(await view.msrProtocol(0x8000_0000_0000_0002n), await view.msrProtocol(0x12n));
    });
    expect(await fixture.enter()).toEqual({ reason: 'msr-protocol', request: 0x8000_0000_0000_0002n });
    expect(await fixture.enter(undefined, { ghcbMsr: 0x2_0001n })).toEqual({
      reason: 'msr-protocol',
      request: 0x12n,
    });
    expect(await fixture.enter()).toEqual({ reason: 'hlt' });
    expect(answers).toEqual([0x2_0001n, 0n]);
  });

  it('ends when the guest is decommissioned, wherever it is', async () => {
    let fault: Promise<string> | undefined;
    const fixture = new SnpFixture(async (view) => {
      fault = faultOf(view.vmgexit(shared.guest));
      await fault;
    });
    await fixture.enter();
    const ciphertext = fixture.memory.read(bootVmsa.system, 4096);
    fixture.cores.removeInactive();
    fixture.guests.length = 0;
    fixture.guest.launch.memoryKey.zero();
    fixture.cores.removeInactive();
    expect(await fault).toBe('machine-gone');
    expect(fixture.memory.read(bootVmsa.system, 4096)).toEqual(ciphertext);
    expect(fixture.failures).toEqual([]);
  });

  it('ends while it runs when its machine goes away, and writes nothing more', async () => {
    const never = () => new Promise<void>(() => undefined);
    const decommissioned = new SnpFixture(never);
    const before = decommissioned.memory.read(bootVmsa.system, 4096);
    const first = decommissioned.enter();
    decommissioned.guests.length = 0;
    decommissioned.guest.launch.memoryKey.zero();
    decommissioned.cores.removeInactive();
    expect(await first).toMatchObject({ reason: 'invalid' });
    expect(decommissioned.memory.read(bootVmsa.system, 4096)).toEqual(before);

    const shutDown = new SnpFixture(never);
    const second = shutDown.enter();
    shutDown.platform = undefined;
    shutDown.cores.removeInactive();
    expect(await second).toMatchObject({ reason: 'invalid' });
    expect(shutDown.memory.read(bootVmsa.system, 4096)).toEqual(before);

    const off = new SnpFixture(never);
    const third = off.enter();
    off.cores.removeAll();
    expect(await third).toMatchObject({ reason: 'invalid' });
  });
});

describe('vCPUs that the guest makes', () => {
  const place = 0x4000;
  const makeVmsa = { targetVmpl: 1, permissions: 0, vmsa: true };

  /** Makes a vCPU out of a page of its memory, as a kernel does for AP creation. */
  const makes =
    (program: GuestProgram | undefined, fields: Parameters<typeof resetVmsa>[0] = {}) =>
    async (view: GuestView) => {
      await view.writePrivate(place, resetVmsa(fields));
      expect(await view.rmpadjust(place, makeVmsa)).toBe(0);
      if (program !== undefined) await view.place(program, place);
    };

  it('run what the guest placed there, from its registers, at its privilege level', async () => {
    const seen: unknown[] = [];
    const application: GuestProgram = async (view) => {
      seen.push([view.vmpl, view.snp, view.registers.rip]);
      view.registers.rax = 7n;
      await view.vmgexit(shared.guest);
      seen.push('again');
    };
    const fixture = new SnpFixture(steps(makes(application, { vmpl: 2, rip: 0x1234n })));
    expect(await fixture.enter(system(place))).toMatchObject({ reason: 'invalid' });
    await fixture.enter();
    expect(await fixture.enter(system(place))).toEqual({ reason: 'vmgexit', ghcbGuestAddress: shared.guest });
    expect(fixture.vmsa(system(place))).toMatchObject({ rax: 7n, rip: 0x1238n, vmpl: 2 });
    expect(await fixture.enter(system(place))).toEqual({ reason: 'hlt' });
    expect(seen).toEqual([[2, true, 0x1234], 'again']);
  });

  it('wait, halted, when nothing was placed there and they do not begin where a boot vCPU does', async () => {
    const fixture = new SnpFixture(steps(makes(undefined, { rip: 0x1234n })));
    await fixture.enter();
    expect(await fixture.enter(system(place))).toEqual({ reason: 'hlt' });
  });

  it('are made anew when the guest places another program; the one before is over', async () => {
    const seen: string[] = [];
    const first: GuestProgram = async (view) => {
      seen.push('first');
      seen.push(await faultOf(view.vmgexit(shared.guest)));
    };
    const second: GuestProgram = async () => void seen.push('second');
    const fixture = new SnpFixture(steps(makes(first), makes(second)));
    await fixture.enter();
    await fixture.enter(system(place));
    await fixture.enter();
    expect(await fixture.enter(system(place))).toEqual({ reason: 'hlt' });
    expect(seen.toSorted()).toEqual(['first', 'machine-gone', 'second']);
    expect(fixture.failures).toEqual([]);
  });

  it('are only made by who may write the VMSA', async () => {
    const seen: string[] = [];
    const usurper: GuestProgram = async () => void seen.push('usurper');
    const fixture = new SnpFixture(async (view) => {
      if (view.vmpl === 0) return makes(async () => void seen.push('rightful'))(view);
      await view.place(usurper, place);
    });
    fixture.launchVmsa(0x22_0000, resetVmsa({ vmpl: 1 }), 0xffff_ffff_e000);
    await fixture.enter();
    const denied = { ...violation, write: true, vmpl: true };
    expect(await fixture.enter(0x22_0000)).toEqual({ reason: 'npf', guestAddress: place, violation: denied });
    expect(await fixture.enter(system(place))).toEqual({ reason: 'hlt' });
    expect(seen).toEqual(['rightful']);
  });

  it('are other vCPUs when the page comes back at another place, or at another level', async () => {
    const seen: string[] = [];
    const fixture = new SnpFixture(
      steps(
        makes(async (view) => {
          seen.push('placed');
          await view.vmgexit(shared.guest);
          seen.push('went on');
        }),
      ),
    );
    await fixture.enter();
    expect(await fixture.enter(system(place))).toMatchObject({ reason: 'vmgexit' });
    fixture.launchVmsa(system(place), resetVmsa({ rip: 5n }), 0x7000);
    expect(await fixture.enter(system(place))).toEqual({ reason: 'hlt' });
    fixture.launchVmsa(system(place), resetVmsa({ rip: 5n, vmpl: 3 }), place);
    expect(await fixture.enter(system(place))).toEqual({ reason: 'hlt' });
    expect(seen).toEqual(['placed']);
  });

  it('cannot be unmade while they run', async () => {
    const { opened, open } = gate();
    const seen: number[] = [];
    const unmake: GuestProgram = async (view) => {
      seen.push(await view.rmpadjust(place, { ...makeVmsa, vmsa: false }));
    };
    const fixture = new SnpFixture(
      steps(
        makes(() => opened),
        unmake,
        unmake,
      ),
    );
    await fixture.enter();
    const running = fixture.enter(system(place));
    await fixture.enter();
    open();
    await running;
    await fixture.enter();
    expect(seen).toEqual([3, 0]);
    expect(await fixture.enter(system(place))).toMatchObject({ reason: 'invalid' });
  });
});

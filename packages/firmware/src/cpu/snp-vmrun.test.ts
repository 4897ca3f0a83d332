import { equalBytes, vmsa } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import type { GuestFault, GuestProgram, GuestView, PermissionAdjustment } from '../guest-view.js';
import { resetVmsa, SnpFixture, snpPlaces } from '../testing/snp-fixture.js';

const { memory: ram, shared, bootVmsa } = snpPlaces;
const text = new TextEncoder().encode('a secret of sixteen or more bytes');
/** System address of a byte of guest memory, as the fixture has it. */
const system = (guestAddress: number) => ram.system + guestAddress;
const violation = { write: false, encrypted: true, sizeMismatch: false, vmpl: false };

/** Leaves again and again, doing one thing in between each time. */
function steps(...each: ((view: GuestView) => Promise<void>)[]): GuestProgram {
  return async (view) => {
    for (const step of each) {
      await step(view);
      await view.vmgexit(shared.guest);
    }
  };
}

/** What a program waits for that runs for as long as its test wants. */
function gate(): { readonly opened: Promise<void>; open(): void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

/** What a guest's step threw. */
async function faultOf(step: Promise<unknown>): Promise<GuestFault['fault'] | 'none'> {
  return step.then(
    () => 'none' as const,
    (error: GuestFault) => error.fault,
  );
}

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

describe('an SNP guest’s memory', () => {
  it('is plaintext inside and ciphertext outside', async () => {
    const seen: Uint8Array[] = [];
    const fixture = new SnpFixture(async (view) => {
      await view.writePrivate(0x1ffa, text);
      seen.push(await view.readPrivate(0x1ffa, text.length));
      await view.writeShared(shared.guest + 7, text);
      seen.push(await view.readShared(shared.guest + 7, text.length));
    });
    expect(await fixture.enter()).toEqual({ reason: 'hlt' });
    expect(seen).toEqual([text, text]);
    expect(equalBytes(fixture.memory.read(system(0x1ffa), text.length), text)).toBe(false);
    expect(fixture.memory.read(shared.system + 7, text.length)).toEqual(text);
  });

  it('is not read where the host has put another of its pages in the place; the guest goes on when it is back', async () => {
    const seen: Uint8Array[] = [];
    const fixture = new SnpFixture(
      steps(
        (view) => view.writePrivate(0x2000, text),
        async (view) => void seen.push(await view.readPrivate(0x2000, text.length)),
      ),
    );
    await fixture.enter();
    const honest = fixture.nestedPages;
    fixture.nestedPages = [{ guestAddress: 0x2000, systemAddress: system(0x3000), length: 4096 }];
    expect(await fixture.enter()).toEqual({ reason: 'npf', guestAddress: 0x2000, violation });
    expect(await fixture.enter()).toEqual({ reason: 'npf', guestAddress: 0x2000, violation });
    fixture.nestedPages = honest;
    expect(await fixture.enter()).toMatchObject({ reason: 'vmgexit' });
    expect(seen).toEqual([text]);
  });

  it('is at one guest address: an alias is nothing that the guest can use', async () => {
    const fixture = new SnpFixture(async (view) => view.writePrivate(0x40_0000 + 5, text));
    fixture.nestedPages.push({ guestAddress: 0x40_0000, systemAddress: system(0x2000), length: 4096 });
    const before = fixture.memory.read(system(0x2000), 4096);
    const write = { ...violation, write: true };
    expect(await fixture.enter()).toEqual({ reason: 'npf', guestAddress: 0x40_0005, violation: write });
    expect(fixture.memory.read(system(0x2000), 4096)).toEqual(before);
  });

  it('names the page of an access across pages, and writes nothing of it', async () => {
    const fixture = new SnpFixture(async (view) => view.writePrivate(0x2ff8, text));
    const before = fixture.memory.read(system(0x2000), 4096);
    fixture.take(system(0x3000));
    const write = { ...violation, write: true };
    expect(await fixture.enter()).toEqual({ reason: 'npf', guestAddress: 0x3000, violation: write });
    expect(fixture.memory.read(system(0x2000), 4096)).toEqual(before);
  });

  it('is not valid any more when the host took it and gave it back, with old contents or new', async () => {
    const faults: string[] = [];
    const fixture = new SnpFixture(
      steps(
        (view) => view.writePrivate(0x2000, text),
        async (view) => void faults.push(await faultOf(view.readPrivate(0x2000, 16))),
        async (view) => void faults.push(await faultOf(view.writePrivate(0x2000, text))),
      ),
    );
    const old = fixture.memory.read(system(0x2000), 4096);
    await fixture.enter();
    fixture.take(system(0x2000));
    fixture.memory.write(system(0x2000), old);
    fixture.assign(system(0x2000), 0x2000);
    await fixture.enter();
    await fixture.enter();
    expect(faults).toEqual(['page-not-validated', 'page-not-validated']);
  });

  it('says where a page is that is not valid', async () => {
    const fixture = new SnpFixture((view) => view.writePrivate(0x2ff8, text));
    fixture.own(system(0x3000), 0x3000, 'Guest-Invalid');
    expect(await fixture.enter()).toEqual({ reason: 'shutdown' });
    expect(fixture.failures).toMatchObject([{ fault: 'page-not-validated', guestAddress: 0x3000 }]);
  });

  it('cannot be handed to two guests: the one loses the page, the other finds noise that it must validate', async () => {
    const seen: unknown[] = [];
    const fixture = new SnpFixture(
      steps(
        (view) => view.writePrivate(0x2000, text),
        async (view) => void (await view.readPrivate(0x2000, 16)),
      ),
    );
    await fixture.enter();
    const accomplice: GuestProgram = async (view) => {
      seen.push(await faultOf(view.readPrivate(0x2000, 16)));
      seen.push(await view.pvalidate(0x2000, { size: '4K', validate: true }));
      seen.push(equalBytes(await view.readPrivate(0x2000, text.length), text));
    };
    const vmsaAddress = 0x21_0000;
    const thief = fixture.addGuest(6, accomplice, vmsaAddress);
    expect(await fixture.enter(vmsaAddress, {}, thief)).toEqual({
      reason: 'npf',
      guestAddress: 0x2000,
      violation,
    });
    expect(fixture.assign(system(0x2000), 0x2000, 6)).toBe(0);
    expect(await fixture.enter()).toEqual({ reason: 'npf', guestAddress: 0x2000, violation });
    expect(await fixture.enter(vmsaAddress, {}, thief)).toEqual({ reason: 'hlt' });
    expect(seen).toEqual(['page-not-validated', { status: 0, changed: true }, false]);
  });

  it('shared with the host is not written where a page is the guest’s own', async () => {
    const fixture = new SnpFixture(async (view) => {
      await view.readShared(0x2000, 16);
      await view.writeShared(0x1ff8, text);
    });
    const before = fixture.memory.read(system(0x1000), 8192);
    const plain = { ...violation, encrypted: false, write: true };
    fixture.take(system(0x1000));
    expect(await fixture.enter()).toEqual({ reason: 'npf', guestAddress: 0x2000, violation: plain });
    expect(fixture.memory.read(system(0x1000), 8192)).toEqual(before);
  });

  it('is nowhere where the host has mapped nothing', async () => {
    const fixture = new SnpFixture((view) =>
      view.pvalidate(0x50_0000, { size: '4K', validate: true }).then(),
    );
    expect(await fixture.enter()).toEqual({ reason: 'npf', guestAddress: 0x50_0000 });
  });
});

describe('PVALIDATE', () => {
  const validate = { size: '4K', validate: true } as const;

  it('accepts a page once: the second time the guest is told that nothing changed', async () => {
    const seen: unknown[] = [];
    const fixture = new SnpFixture(async (view) => {
      seen.push(await view.pvalidate(0x2000, validate), await view.pvalidate(0x2000, validate));
      await view.writePrivate(0x2000, text);
      seen.push(await view.readPrivate(0x2000, text.length));
    });
    fixture.own(system(0x2000), 0x2000, 'Guest-Invalid');
    await fixture.enter();
    expect(seen).toEqual([{ status: 0, changed: true }, { status: 0, changed: false }, text]);
  });

  it('of an address that was accepted before tells a guest that asks for it that it has another page', async () => {
    // What the host gains if the guest does not remember: two valid pages at one address, to change between at will.
    const contents: Uint8Array[] = [];
    const read = async (view: GuestView) => void contents.push(await view.readPrivate(0x2000, text.length));
    const fixture = new SnpFixture(
      steps(
        (view) => view.writePrivate(0x2000, text),
        async (view) => {
          expect(await faultOf(read(view))).toBe('page-not-validated');
          expect(await view.pvalidate(0x2000, validate)).toEqual({ status: 0, changed: true });
          await view.writePrivate(0x2000, text.toReversed());
        },
        read,
        read,
      ),
    );
    const second = 0x60_0000;
    const honest = fixture.nestedPages;
    const swapped = [{ guestAddress: 0x2000, systemAddress: second, length: 4096 }, ...honest];
    await fixture.enter();
    fixture.assign(second, 0x2000);
    fixture.nestedPages = swapped;
    await fixture.enter();
    fixture.nestedPages = honest;
    await fixture.enter();
    fixture.nestedPages = swapped;
    await fixture.enter();
    expect(contents).toEqual([text, text.toReversed()]);
  });

  it('takes back what it gave', async () => {
    const faults: string[] = [];
    const fixture = new SnpFixture(async (view) => {
      const back = { size: '4K', validate: false } as const;
      expect(await view.pvalidate(0x2000, back)).toEqual({ status: 0, changed: true });
      expect(await view.pvalidate(0x2000, back)).toEqual({ status: 0, changed: false });
      faults.push(await faultOf(view.readPrivate(0x2000, 1)));
    });
    await fixture.enter();
    expect(faults).toEqual(['page-not-validated']);
    expect(fixture.reverseMap.state(system(0x2000))).toBe('Guest-Invalid');
  });

  it('is for VMPL 0', async () => {
    const faults: string[] = [];
    const fixture = new SnpFixture(
      async (view) => void faults.push(await faultOf(view.pvalidate(0x2000, validate))),
    );
    fixture.own(system(0x2000), 0x2000, 'Guest-Invalid');
    fixture.launchVmsa(bootVmsa.system, resetVmsa({ vmpl: 1 }));
    await fixture.enter();
    expect(faults).toEqual(['general-protection']);
    expect(fixture.reverseMap.state(system(0x2000))).toBe('Guest-Invalid');
  });

  it.each([
    [0x2010, '4K', 1],
    [-4096, '4K', 1],
    [0x2000, '2M', 1],
    [0, '2M', 6],
  ] as const)('of 0x%i as %s gives status %i', async (address, size, status) => {
    const seen: unknown[] = [];
    const fixture = new SnpFixture(async (view) => {
      seen.push(await view.pvalidate(address, { size, validate: false }));
    });
    await fixture.enter();
    expect(seen).toEqual([{ status, changed: false }]);
  });

  it('of 4 KiB in a page of 2 MiB waits for the host to smash it', async () => {
    const seen: unknown[] = [];
    const fixture = new SnpFixture(async (view) => {
      seen.push(await view.pvalidate(0xa0_0000, { size: '2M', validate: true }));
      await view.writePrivate(0xa0_5000, text);
      seen.push(await view.pvalidate(0xa0_0000, { size: '2M', validate: true }));
      seen.push(await view.pvalidate(0xa0_5000, { size: '4K', validate: false }));
      seen.push(await faultOf(view.readPrivate(0xa0_5000, 1)), await faultOf(view.readPrivate(0xa0_6000, 1)));
    });
    fixture.ownLarge(0x60_0000, 0xa0_0000, 'Guest-Invalid');
    fixture.nestedPages.push({ guestAddress: 0xa0_0000, systemAddress: 0x60_0000, length: 0x20_0000 });
    const mismatch = { ...violation, write: true, sizeMismatch: true };
    expect(await fixture.enter()).toEqual({ reason: 'npf', guestAddress: 0xa0_5000, violation: mismatch });
    expect(fixture.reverseMap.smash(0x60_0000)).toBe(0);
    expect(await fixture.enter()).toEqual({ reason: 'hlt' });
    expect(seen).toEqual([
      { status: 0, changed: true },
      { status: 0, changed: false },
      { status: 0, changed: true },
      'page-not-validated',
      'none',
    ]);
  });
});

describe('privilege levels', () => {
  const grant = (permissions: number, targetVmpl = 1): PermissionAdjustment => ({
    targetVmpl,
    permissions,
    vmsa: false,
  });
  /** A second VMSA of the guest's, at VMPL 1, as the firmware launches it. */
  const lower = { system: 0x22_0000, guest: 0xffff_ffff_e000 };

  function withLower(program: GuestProgram, boot: GuestProgram = async () => undefined): SnpFixture {
    const fixture = new SnpFixture((view) => (view.vmpl === 0 ? boot(view) : program(view)));
    fixture.launchVmsa(lower.system, resetVmsa({ vmpl: 1 }), lower.guest);
    return fixture;
  }

  it('below 0 have of a page what 0 gave them', async () => {
    const seen: unknown[] = [];
    const fixture = withLower(
      async (view) => {
        seen.push(view.vmpl, await view.readPrivate(0x2000, text.length));
        await view.writePrivate(0x2000, text);
      },
      async (view) => {
        await view.writePrivate(0x2000, text);
        expect(await view.rmpadjust(0x2000, grant(1))).toBe(0);
      },
    );
    const denied = { ...violation, vmpl: true };
    expect(await fixture.enter(lower.system)).toEqual({
      reason: 'npf',
      guestAddress: 0x2000,
      violation: denied,
    });
    await fixture.enter();
    const write = { ...denied, write: true };
    expect(await fixture.enter(lower.system)).toEqual({
      reason: 'npf',
      guestAddress: 0x2000,
      violation: write,
    });
    expect(seen).toEqual([1, text]);
    fixture.reverseMap.adjust(system(0x2000), 1, 2, false);
    expect(await fixture.enter(lower.system)).toMatchObject({ reason: 'npf' });
    fixture.reverseMap.adjust(system(0x2000), 1, 3, false);
    expect(await fixture.enter(lower.system)).toEqual({ reason: 'hlt' });
  });

  it('cannot raise themselves, nor give what they have not', async () => {
    const seen: number[] = [];
    const fixture = withLower(async (view) => {
      for (const [targetVmpl, permissions] of [
        [1, 1],
        [0, 0],
        [2, 4],
        [2, 1],
        [3, 3],
        [3, 2],
        [3, 7],
      ] as const)
        seen.push(await view.rmpadjust(0x2000, grant(permissions, targetVmpl)));
    });
    fixture.reverseMap.adjust(system(0x2000), 1, 3, false);
    await fixture.enter(lower.system);
    expect(seen).toEqual([2, 2, 2, 0, 0, 0, 2]);
    expect(fixture.reverseMap.entry(system(0x2000)).permissions).toEqual([0x1f, 3, 1, 2]);
  });

  it.each<[string, number, Partial<PermissionAdjustment>, number]>([
    ['no page', 0x2008, {}, 1],
    ['no page of 2 MiB', 0x2000, { size: '2M' }, 1],
    ['a VMSA of 2 MiB', 0, { size: '2M', vmsa: true }, 1],
    ['2 MiB of pages of 4 KiB', 0, { size: '2M' }, 6],
    ['a VMPL that there is not', 0x2000, { targetVmpl: 4 }, 1],
    ['half a VMPL', 0x2000, { targetVmpl: 1.5 }, 1],
    ['permissions that there are not', 0x2000, { permissions: 0x20 }, 1],
    ['permissions that are no byte', 0x2000, { permissions: 0x101 }, 1],
    ['half a permission', 0x2000, { permissions: 1.5 }, 1],
  ])('RMPADJUST of %s', async (_, address, operands, status) => {
    const seen: number[] = [];
    const fixture = new SnpFixture(async (view) => {
      seen.push(await view.rmpadjust(address, { ...grant(1), ...operands }));
    });
    await fixture.enter();
    expect(seen).toEqual([status]);
    expect(fixture.reverseMap.entry(system(0x2000)).permissions).toEqual([0x1f, 0, 0, 0]);
  });

  it('RMPADJUST of a page of 2 MiB is for all of it', async () => {
    const seen: number[] = [];
    const fixture = new SnpFixture(async (view) => {
      seen.push(await view.rmpadjust(0xa0_0000, { ...grant(3), size: '2M' }));
    });
    fixture.ownLarge(0x60_0000, 0xa0_0000);
    fixture.nestedPages.push({ guestAddress: 0xa0_0000, systemAddress: 0x60_0000, length: 0x20_0000 });
    await fixture.enter();
    expect(seen).toEqual([0]);
    expect(fixture.reverseMap.entry(0x7f_f000).permissions).toEqual([0x1f, 3, 0, 0]);
  });

  it('below 0 make no VMSA, and unmake none', async () => {
    const seen: number[] = [];
    const fixture = withLower(async (view) => {
      seen.push(await view.rmpadjust(0x2000, { targetVmpl: 2, permissions: 0, vmsa: true }));
      seen.push(await view.rmpadjust(0x3000, { targetVmpl: 2, permissions: 0, vmsa: false }));
    });
    fixture.reverseMap.adjust(system(0x3000), 1, 0, true);
    await fixture.enter(lower.system);
    expect(seen).toEqual([0, 0]);
    expect(fixture.reverseMap.entry(system(0x2000)).vmsa).toBe(false);
    expect(fixture.reverseMap.entry(system(0x3000)).vmsa).toBe(true);
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

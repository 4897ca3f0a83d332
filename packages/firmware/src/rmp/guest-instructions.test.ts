import { describe, expect, it } from 'vitest';
import type { GuestProgram, GuestView, PermissionAdjustment } from '../guest-view.js';
import { resetVmsa, SnpFixture, snpPlaces } from '../testing/snp-fixture.js';
import { faultOf, steps, system, violation } from '../testing/snp-programs.js';

const { bootVmsa } = snpPlaces;
const text = new TextEncoder().encode('a secret of sixteen or more bytes');

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

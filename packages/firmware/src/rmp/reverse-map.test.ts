import { InvalidArgumentError, type PageState } from '@vouchsafe/sev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RmpUpdate } from '../mailbox.js';
import { ReverseMap } from './reverse-map.js';

const asid = 7;
const mebibytes = (count: number) => count * 1024 * 1024;
const newMap = () => new ReverseMap({ size: mebibytes(8) }, { maximumAsid: 509 });

const hypervisors: RmpUpdate = { assigned: false, size: '4K', immutable: false, guestAddress: 0, asid: 0 };
const firmwares: RmpUpdate = { ...hypervisors, assigned: true, immutable: true };
const guests = (guestAddress: number, more: Partial<RmpUpdate> = {}): RmpUpdate => ({
  assigned: true,
  size: '4K',
  immutable: false,
  guestAddress,
  asid,
  ...more,
});

/** Statuses of RMPUPDATE and PSMASH in EAX. */
const status = { success: 0, input: 1, permission: 2, inUse: 3, overlap: 4, badAddress: 7 };

describe('RMPUPDATE', () => {
  const page = 0x5000;

  it.each<[string, number, RmpUpdate]>([
    ['inside a page', page + 16, hypervisors],
    ['below memory', -4096, hypervisors],
    ['beyond memory', mebibytes(8), hypervisors],
    ['of no number', Number.NaN, hypervisors],
    ['half beyond memory', mebibytes(7), guests(0, { size: '2M' })],
    ['of 2 MiB at an address for 4 KiB', 0x1000, guests(0, { size: '2M' })],
    ['of 2 MiB at a guest address for 4 KiB', 0x20_0000, guests(0x1000, { size: '2M' })],
    ['inside a guest’s page', page, guests(0x801)],
    ['below guest memory', page, guests(-4096)],
    ['beyond what a number holds of guest memory', page, guests(2 ** 60)],
    ['without an owner that is immutable', page, { ...hypervisors, immutable: true }],
    ['without an owner that has an ASID', page, { ...hypervisors, asid }],
    ['without an owner at a guest address', page, { ...hypervisors, guestAddress: 4096 }],
    ['that only SNP_PAGE_RECLAIM makes', page, { ...firmwares, immutable: false }],
    ['that only SNP_PAGE_MD_INIT makes', page, { ...firmwares, guestAddress: 4096 }],
    ['of an ASID that there is not', page, guests(0, { asid: 510 })],
    ['of an ASID below 0', page, guests(0, { asid: -1 })],
    ['of half an ASID', page, guests(0, { asid: 1.5 })],
  ])('refuses a page %s', (_, address, request) => {
    const map = newMap();
    expect(map.update(address, request)).toBe(status.input);
    expect(map.state(page)).toBe('Hypervisor');
  });

  it('gives VMPL 0 everything and the others nothing', () => {
    const map = newMap();
    expect(map.update(page, guests(0x9000))).toBe(status.success);
    expect(map.entry(page)).toEqual({
      ...guests(0x9000),
      validated: false,
      vmsa: false,
      permissions: [0x1f, 0, 0, 0],
    });
  });

  it.each<[string, Partial<RmpUpdate>, PageState, boolean]>([
    ['nothing', {}, 'Guest-Valid', true],
    ['that nobody may change it', { immutable: true }, 'Pre-Swap', true],
    ['the guest address', { guestAddress: 0xa000 }, 'Guest-Invalid', false],
    ['the guest', { asid: 8 }, 'Guest-Invalid', false],
    ['the guest, and that nobody may change it', { asid: 8, immutable: true }, 'Pre-Guest', false],
  ])('keeps what the guest said of its page if it changes %s', (_, change, state, keeps) => {
    const map = newMap();
    const said = { validated: true, vmsa: true, permissions: [0x1f, 3, 1, 0] as const };
    map.setState(page, 'Guest-Valid', { asid, guestAddress: 0x9000, ...said });
    expect(map.update(page, guests(0x9000, change))).toBe(status.success);
    expect(map.state(page)).toBe(state);
    expect(map.entry(page)).toMatchObject(
      keeps ? said : { validated: false, vmsa: false, permissions: [0x1f, 0, 0, 0] },
    );
  });

  it('forgets what the guest said of a page that went through the host’s hands', () => {
    const map = newMap();
    map.setState(page, 'Guest-Valid', {
      asid,
      guestAddress: 0x9000,
      vmsa: true,
      permissions: [31, 31, 0, 0],
    });
    expect(map.update(page, hypervisors)).toBe(status.success);
    expect(map.entry(page)).toMatchObject({ ...hypervisors, permissions: [0, 0, 0, 0] });
    expect(map.update(page, guests(0x9000))).toBe(status.success);
    expect(map.entry(page)).toMatchObject({ validated: false, vmsa: false, permissions: [0x1f, 0, 0, 0] });
  });

  it('leaves a VMSA alone while its vCPU runs', () => {
    const map = newMap();
    map.update(page, guests(0));
    map.hold(page);
    expect(map.isInUse(page)).toBe(true);
    expect(map.update(page, hypervisors)).toBe(status.inUse);
    expect(map.update(0, guests(0, { size: '2M' }))).toBe(status.inUse);
    map.release(page);
    expect(map.update(page, hypervisors)).toBe(status.success);
  });
});

describe('pages of 2 MiB', () => {
  const large = 0x20_0000;
  const inside = large + 0x3000;
  const withLarge = (state: PageState = 'Guest-Valid') => {
    const map = newMap();
    expect(map.update(large, guests(0x60_0000, { size: '2M' }))).toBe(status.success);
    map.setState(large, state);
    return map;
  };

  it('have all their addresses, each at its place in the guest', () => {
    const map = withLarge();
    expect(map.entry(large)).toMatchObject({ size: '2M', guestAddress: 0x60_0000, validated: true });
    expect(map.entry(inside)).toMatchObject({ size: '2M', guestAddress: 0x60_3000, validated: true });
    expect(map.entry(inside + 16)).toEqual(map.entry(inside));
    expect(map.state(large + 0x20_0000)).toBe('Hypervisor');
    expect(map.state(large - 0x1000)).toBe('Hypervisor');
  });

  it('are not cut in two by RMPUPDATE', () => {
    const map = withLarge();
    expect(map.update(inside, guests(0x60_3000))).toBe(status.overlap);
    expect(map.update(inside, hypervisors)).toBe(status.overlap);
    expect(map.state(inside)).toBe('Guest-Valid');
  });

  it('go back as a whole', () => {
    const map = withLarge();
    expect(map.update(large, { ...hypervisors, size: '2M' })).toBe(status.success);
    expect(map.state(large)).toBe('Hypervisor');
    expect(map.state(inside)).toBe('Hypervisor');
    expect(map.firstAssigned({ address: 0, length: mebibytes(8) })).toBeUndefined();
  });

  it('go back but for their first 4 KiB where a page of 4 KiB takes their place', () => {
    const map = withLarge();
    expect(map.update(large, guests(0x60_0000))).toBe(status.success);
    expect(map.entry(large)).toMatchObject({ size: '4K', validated: false });
    expect(map.state(inside)).toBe('Hypervisor');
  });

  it('keep what the guest said of them where only `immutable` changes', () => {
    const map = withLarge();
    map.adjust(large, 1, 3, false);
    const request = guests(0x60_0000, { size: '2M', immutable: true });
    expect(map.update(large, request)).toBe(status.success);
    for (const at of [large, inside]) {
      expect(map.state(at)).toBe('Pre-Swap');
      expect(map.entry(at)).toMatchObject({ size: '2M', permissions: [0x1f, 3, 0, 0] });
    }
  });

  it('do not swallow pages of 4 KiB, their own or others’', () => {
    const map = newMap();
    map.update(inside, guests(0x60_3000));
    expect(map.update(large, guests(0x60_0000, { size: '2M' }))).toBe(status.overlap);
    expect(map.update(large, { ...hypervisors, size: '2M' })).toBe(status.overlap);
    map.setState(inside, 'HV-Fixed');
    expect(map.update(large, guests(0x60_0000, { size: '2M' }))).toBe(status.permission);
    expect(map.state(large)).toBe('Hypervisor');
  });

  it('are made 512 by PSMASH, which changes nothing else', () => {
    const map = withLarge();
    map.adjust(large, 1, 3, false);
    expect(map.smash(large)).toBe(status.success);
    for (const [at, guestAddress] of [
      [large, 0x60_0000],
      [inside, 0x60_3000],
      [large + 0x1f_f000, 0x7f_f000],
    ] as const) {
      expect(map.entry(at)).toEqual({
        ...guests(guestAddress),
        validated: true,
        vmsa: false,
        permissions: [0x1f, 3, 0, 0],
      });
    }
    expect(map.smash(large)).toBe(status.badAddress);
  });

  it.each<[PageState, number]>([
    ['Guest-Invalid', status.success],
    ['Guest-Valid', status.success],
    ['Pre-Guest', status.permission],
    ['Pre-Swap', status.permission],
    ['Firmware', status.permission],
    ['Reclaim', status.success],
  ])('in state %s: PSMASH gives %i', (state, expected) => {
    expect(withLarge(state).smash(large)).toBe(expected);
  });

  it('are not smashed at another address, in use, or where there is none', () => {
    const map = withLarge();
    expect(map.smash(inside)).toBe(status.input);
    expect(map.smash(mebibytes(8))).toBe(status.input);
    expect(map.smash(0)).toBe(status.badAddress);
    map.hold(inside);
    expect(map.smash(large)).toBe(status.inUse);
  });

  it('are put into a state as a whole, by their first address', () => {
    const map = withLarge();
    map.setState(large, 'Reclaim');
    expect([map.state(large), map.state(inside)]).toEqual(['Reclaim', 'Reclaim']);
    expect(() => map.setState(inside, 'Hypervisor')).toThrow(InvalidArgumentError);
    map.setState(large, 'Hypervisor');
    expect([map.state(large), map.entry(inside).size]).toEqual(['Hypervisor', '4K']);
  });
});

describe('joining 512 pages', () => {
  const large = 0x20_0000;
  const last = large + 0x1f_f000;
  const smashed = () => {
    const map = newMap();
    map.update(large, guests(0x60_0000, { size: '2M' }));
    map.setState(large, 'Guest-Valid', { permissions: [0x1f, 1, 0, 0] });
    map.smash(large);
    return map;
  };

  it('undoes PSMASH', () => {
    const map = smashed();
    expect(map.join(large)).toBe(true);
    expect(map.entry(last)).toMatchObject({
      size: '2M',
      guestAddress: 0x7f_f000,
      permissions: [0x1f, 1, 0, 0],
    });
    expect(map.join(large)).toBe(false);
  });

  it.each<[string, (map: ReverseMap) => void]>([
    ['is not validated', (map) => map.setState(last, 'Guest-Invalid')],
    ['is another guest’s', (map) => map.setState(last, 'Guest-Valid', { asid: 8 })],
    ['is somewhere else in the guest', (map) => map.setState(last, 'Guest-Valid', { guestAddress: 0 })],
    ['gives other permissions', (map) => map.adjust(last, 1, 3, false)],
    ['is a VMSA', (map) => map.adjust(last, 1, 1, true)],
    ['is in use', (map) => map.hold(last)],
    ['is the host’s', (map) => map.setState(last, 'Hypervisor')],
  ])('fails where one %s', (_, change) => {
    const map = smashed();
    change(map);
    expect(map.join(large)).toBe(false);
    expect(map.entry(large).size).toBe('4K');
  });

  it('fails where they lie across pages of 2 MiB of the guest, or of the host', () => {
    const map = newMap();
    for (let at = 0; at < 0x20_0000; at += 4096)
      map.setState(large + at, 'Guest-Valid', { asid, guestAddress: 0x1000 + at });
    expect(map.join(large)).toBe(false);
    expect(map.join(large + 4096)).toBe(false);
    expect(map.join(0)).toBe(false);
    expect(map.join(mebibytes(8))).toBe(false);
  });
});

describe('the table', () => {
  it('shows the host who owns a page, and no more', () => {
    const map = newMap();
    map.setState(0x3000, 'Guest-Valid', {
      asid,
      guestAddress: 0x9000,
      vmsa: true,
      permissions: [31, 1, 0, 0],
    });
    expect(map.read(0x3000)).toEqual(guests(0x9000));
    expect(map.read(0x4000)).toEqual(hypervisors);
  });

  it.each([-1, mebibytes(8), 0.5, 2 ** 53])('has no entry for address %d', (address) => {
    const map = newMap();
    expect(() => map.entry(address)).toThrow(InvalidArgumentError);
    expect(() => map.read(address)).toThrow(InvalidArgumentError);
    expect(() => map.setState(address, 'Firmware')).toThrow(InvalidArgumentError);
  });

  it('finds the first page in a range that is not the hypervisor’s', () => {
    const map = newMap();
    const range = { address: 0x1010, length: 0x3000 };
    expect(map.firstAssigned(range)).toBeUndefined();
    map.setState(0x5000, 'Firmware');
    expect(map.firstAssigned(range)).toBeUndefined();
    map.setState(0x4000, 'Reclaim');
    expect(map.firstAssigned(range)).toBe(0x4000);
    expect(map.firstAssigned({ address: 0x1010, length: 0x2ff0 })).toBeUndefined();
    map.setState(0x1000, 'HV-Fixed');
    expect(map.firstAssigned(range)).toBe(0x4000);
    map.setState(0x1000, 'Context');
    expect(map.firstAssigned(range)).toBe(0x1000);
    for (const at of [0x1000, 0x4000, 0x5000]) map.setState(at, 'Hypervisor');
    expect(map.firstAssigned({ address: 0, length: mebibytes(8) })).toBeUndefined();
  });

  it('knows whether an ASID still has pages', () => {
    const map = newMap();
    map.setState(0x7000, 'Pre-Guest', { asid, guestAddress: 0 });
    expect([map.hasPagesOf(asid), map.hasPagesOf(8)]).toEqual([true, false]);
    map.setState(0x7000, 'Reclaim');
    expect(map.hasPagesOf(asid)).toBe(false);
  });

  it('tells apart the firmware’s own pages', () => {
    const map = newMap();
    for (const state of ['Firmware', 'Context', 'Metadata', 'Reclaim', 'HV-Fixed'] as const) {
      map.setState(0x1000, state, { guestAddress: 0x8000, asid });
      expect(map.state(0x1000)).toBe(state);
      expect(map.entry(0x1000)).toMatchObject({ asid: 0, permissions: [0, 0, 0, 0] });
    }
  });

  it('cannot be talked into a valid page by its host, whatever it asks', () => {
    const address = fc.integer({ min: 0, max: 2047 }).map((page) => 4096 * page);
    const nearAddress = fc.oneof(
      address,
      fc.integer({ min: 0, max: 3 }).map((page) => 0x20_0000 * page),
    );
    const request = fc.record({
      assigned: fc.boolean(),
      size: fc.constantFrom<'4K' | '2M'>('4K', '4K', '2M'),
      immutable: fc.boolean(),
      guestAddress: nearAddress,
      asid: fc.integer({ min: 0, max: 3 }),
    });
    const step = fc.oneof(
      fc.record({ kind: fc.constant('update' as const), address: nearAddress, request }),
      fc.record({ kind: fc.constant('smash' as const), address: nearAddress }),
    );
    const owned = fc.record({ page: address, guestAddress: address, asid: fc.integer({ min: 1, max: 3 }) });
    fc.assert(
      fc.property(fc.array(owned, { maxLength: 8 }), fc.array(step, { maxLength: 40 }), (pages, steps) => {
        const map = newMap();
        for (const { page, ...attributes } of pages) map.setState(page, 'Guest-Valid', attributes);
        const before = new Map(pages.map(({ page }) => [page, map.entry(page)]));
        for (const each of steps) {
          if (each.kind === 'smash') map.smash(each.address);
          else map.update(each.address, each.request);
        }
        for (let at = 0; at < mebibytes(8); at += 4096) {
          const { validated, asid: owner, guestAddress } = map.entry(at);
          const known = before.get(at);
          if (validated)
            expect({ owner, guestAddress }).toEqual({
              owner: known?.asid,
              guestAddress: known?.guestAddress,
            });
        }
      }),
      { numRuns: 60, seed: 4 },
    );
  });
});

import { allocateHostMemory } from '@vouchsafe/host';
import { equalBytes, snpDbgBuffer, snpGuestStatusBuffer, toHex } from '@vouchsafe/sev';
import type { SnpAttack } from '../../attack.js';
import { flipped } from '../../interfering-host.js';
import { guestOutcome, hostWriteOutcome, processorOutcome } from '../../outcome.js';
import { nextEntry, runCommand, touchOutcome } from '../meddling.js';
import { bootGuest, type SnpRig } from '../world.js';
import {
  fill,
  type Guest,
  give,
  loadMore,
  otherPage,
  ownPage,
  pageSize,
  placeOf,
  takeBack,
  withPages,
} from './pages.js';

/** The host has memory, nested page tables and RMPUPDATE in its hands, and the guest's pages lie in that memory. */

const modes = ['snp'] as const;
/** From the next entry on, guest addresses lead elsewhere in the host's memory. */
function remap(rig: SnpRig, places: ReadonlyMap<number, number>): void {
  rig.interference.entry = (control) => ({
    ...control,
    // The first row that fits is the one that counts.
    nestedPages: [
      ...[...places].map(([guestAddress, systemAddress]) => ({
        guestAddress,
        systemAddress,
        length: pageSize,
      })),
      ...control.nestedPages,
    ],
  });
}

/** What the guest gets when it reads a page after the host has mapped other memory there. */
function remapped(
  id: string,
  title: string,
  otherwise: string,
  places: (rig: SnpRig, vm: Guest) => Promise<ReadonlyMap<number, number>>,
): SnpAttack {
  return {
    id,
    flow: 'memory',
    modes,
    title,
    refusedBy: 'reverse map',
    at: '#NPF(RMP)',
    async run(_world, rig) {
      const booted = await withPages(rig);
      remap(rig, await places(rig, booted.vm));
      await nextEntry(booted);
      return touchOutcome(rig, otherwise, () => booted.view.readPrivate(ownPage, 16));
    },
  };
}

/** The host takes a page away and gives it back, with what it likes in it. */
function takenAndReturned(
  id: string,
  title: string,
  contents: (before: Uint8Array) => Uint8Array,
): SnpAttack {
  return {
    id,
    flow: 'memory',
    modes,
    title,
    refusedBy: 'guest',
    at: 'page-not-validated',
    async run(_world, rig) {
      const { vm, view } = await withPages(rig);
      const place = placeOf(vm, ownPage);
      const before = await rig.host.memory.read(place, pageSize);
      await view.writePrivate(ownPage, fill(0x43));
      await takeBack(rig.host, place);
      await rig.host.memory.write(place, contents(before));
      await give(rig.host, place, { asid: vm.asid, guestAddress: ownPage });
      return touchOutcome(rig, 'a page of the guest’s that the host has changed', () =>
        view.readPrivate(ownPage, 16),
      );
    },
  };
}

export const snpMemoryAttacks: readonly SnpAttack[] = [
  {
    id: 'snp-read-guest-memory',
    flow: 'memory',
    modes,
    title: 'The host reads the guest’s memory',
    refusedBy: 'harmless',
    at: 'ciphertext',
    async run(_world, rig) {
      const { vm, view } = await withPages(rig);
      await view.writePrivate(otherPage, fill(0x41));
      const [seen, same] = [
        await rig.host.memory.read(placeOf(vm, ownPage), pageSize),
        await rig.host.memory.read(placeOf(vm, otherPage), pageSize),
      ];
      const evidence = `the host reads ${toHex(seen.subarray(0, 8))}…; the same plain text elsewhere is ${toHex(same.subarray(0, 8))}…`;
      return equalBytes(seen, fill(0x41)) || equalBytes(seen, same)
        ? { refusedBy: 'nobody', at: 'what the guest wrote', evidence }
        : { refusedBy: 'harmless', at: 'ciphertext', evidence };
    },
  },
  {
    id: 'snp-debug-decrypt',
    flow: 'memory',
    modes,
    title: 'The host asks the processor to decrypt a page with SNP_DBG_DECRYPT, under a policy without DEBUG',
    refusedBy: 'processor',
    at: 'POLICY_FAILURE',
    async run(_world, rig) {
      const { vm } = await withPages(rig);
      const target = allocateHostMemory(rig.host, pageSize);
      // A page of the firmware's, so that nothing but the policy stands against it.
      const firmwares = { assigned: true, immutable: true, asid: 0, guestAddress: 0, size: '4K' } as const;
      await rig.host.reverseMap.update(target.address, firmwares);
      const buffer = snpDbgBuffer.build({
        gctxAddress: vm.gctxAddress,
        sourceAddress: BigInt(placeOf(vm, ownPage)),
        destinationAddress: BigInt(target.address),
      });
      return processorOutcome('a page of the guest in plain text', () =>
        runCommand(rig.host, 'SNP_DBG_DECRYPT', buffer),
      );
    },
  },
  {
    id: 'host-writes-guest-page',
    flow: 'memory',
    modes,
    title: 'The host writes to a page of the guest’s',
    refusedBy: 'reverse map',
    at: '#PF(RMP)',
    async run(_world, rig) {
      const { vm } = await withPages(rig);
      return hostWriteOutcome('noise, where the guest had something', () =>
        rig.host.memory.write(placeOf(vm, ownPage), new Uint8Array(16)),
      );
    },
  },
  {
    id: 'firmware-as-deputy',
    flow: 'memory',
    modes,
    title: 'The host has the processor write the result of a command to a page of the guest’s',
    refusedBy: 'processor',
    at: 'INVALID_PAGE_STATE',
    async run(_world, rig) {
      const { vm } = await withPages(rig);
      const buffer = snpGuestStatusBuffer.build({
        gctxAddress: vm.gctxAddress,
        statusAddress: BigInt(placeOf(vm, ownPage)),
      });
      return processorOutcome('a page of the guest’s that the processor has overwritten', () =>
        runCommand(rig.host, 'SNP_GUEST_STATUS', buffer),
      );
    },
  },
  remapped(
    'snp-pages-remapped',
    'The host exchanges two pages of the guest in the nested page table',
    'pages in each other’s places',
    async (_rig, vm) =>
      new Map([
        [ownPage, placeOf(vm, otherPage)],
        [otherPage, placeOf(vm, ownPage)],
      ]),
  ),
  remapped(
    'page-aliased',
    'The host lets two guest addresses lead to one page',
    'one page at two addresses',
    async (_rig, vm) => new Map([[ownPage, placeOf(vm, otherPage)]]),
  ),
  remapped(
    'host-page-mapped',
    'The host maps a page of its own where the guest has a private one',
    'a page of the host’s that the guest takes for its own',
    async (rig) => new Map([[ownPage, allocateHostMemory(rig.host, pageSize).address]]),
  ),
  remapped(
    'page-of-two-guests',
    'The host maps a page that belongs to another guest',
    'one page in two guests',
    async (rig) => {
      const other = await rig.boot();
      return new Map([[ownPage, placeOf(other.vm, ownPage)]]);
    },
  ),
  {
    id: 'page-given-to-another-guest',
    flow: 'memory',
    modes,
    title:
      'The host gives a page of the guest’s to another guest, at the same address, while the first still uses it',
    refusedBy: 'reverse map',
    at: '#NPF(RMP)',
    async run(_world, rig) {
      const { vm, view } = await withPages(rig);
      const other = await rig.load();
      await give(rig.host, placeOf(vm, ownPage), { asid: other.asid, guestAddress: ownPage });
      return touchOutcome(rig, 'one page in two guests', () => view.writePrivate(ownPage, fill(1)));
    },
  },
  takenAndReturned(
    'page-replaced',
    'The host takes a page from the guest, writes to it and gives it back',
    flipped,
  ),
  takenAndReturned(
    'snp-old-page-put-back',
    'The host takes a page from the guest and gives it back with the ciphertext of an earlier time',
    (before) => before,
  ),
  {
    id: 'second-page-at-one-address',
    flow: 'memory',
    modes,
    title:
      'The host maps a second page at an address of the guest’s, made the guest’s as well, to change between the two later',
    refusedBy: 'guest',
    at: 'page-not-validated',
    async run(_world, rig) {
      const booted = await withPages(rig);
      const second = allocateHostMemory(rig.host, pageSize).address;
      await give(rig.host, second, { asid: booted.vm.asid, guestAddress: ownPage });
      remap(rig, new Map([[ownPage, second]]));
      await nextEntry(booted);
      return touchOutcome(rig, 'an address of the guest’s with two pages', () =>
        booted.view.readPrivate(ownPage, 16),
      );
    },
  },
  {
    id: 'validated-twice',
    flow: 'memory',
    modes,
    title:
      'The host has a page validated at launch where the guest will validate memory itself: it would be doing so for the second time',
    refusedBy: 'guest',
    at: 'validated-before',
    async run(_world, rig) {
      const vm = await rig.load();
      await loadMore(rig.host, vm, { guestAddress: ownPage, type: 'NORMAL' });
      return guestOutcome('a page with contents of the host’s choice', () => bootGuest(rig.machine, vm));
    },
  },
];

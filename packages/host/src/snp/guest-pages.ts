import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import type { GuestMemory } from '../launch/guest-memory.js';
import { largePage, smallPage, smashPage, takeBackPage, updatePage } from './pages.js';

type PageSize = '4K' | '2M';

/**
 * Which pages of the host's memory belong to one SEV-SNP guest, as its hypervisor keeps the reverse map table. Addresses
 * are system physical unless they are called guest addresses.
 */
export interface GuestPageOwner {
  /** A page for the launch: the guest's, immutable until LAUNCH_UPDATE has taken it. */
  preparePage(address: number, guestAddress: number): Promise<void>;
  /** A page at the guest's own address becomes private. A page of 2 MiB is given as 4 KiB pages where it has to be. */
  makePrivate(guestAddress: number, size: PageSize): Promise<void>;
  /** A page of 4 KiB at the guest's own address becomes shared. */
  makeShared(guestAddress: number): Promise<void>;
  /** Breaks the page of 2 MiB around this address into 4 KiB ones. False where there is none. */
  split(guestAddress: number): Promise<boolean>;
  /** Whether the page is the guest's at this address already. */
  isPrivate(guestAddress: number): Promise<boolean>;
  /** Gives every page back to the hypervisor, also after one could not be. */
  releaseAll(): Promise<void>;
}

export function guestPageOwner(machine: HostMachine, memory: GuestMemory, asid: number): GuestPageOwner {
  /** Of every page that is the guest's, or is to be. */
  const owned = new Map<number, PageSize>();
  const base = (address: number) => address - (address % largePage);
  const systemAddress = (guestAddress: number, size: PageSize = '4K') =>
    memory.requireSystemAddress(guestAddress, size === '4K' ? smallPage : largePage);

  async function give(
    address: number,
    guestAddress: number,
    size: PageSize,
    immutable: boolean,
  ): Promise<void> {
    owned.set(address, size);
    await updatePage(machine, address, { assigned: true, immutable, asid, guestAddress, size });
  }

  /** One page of 2 MiB where nothing of it is the guest's yet, and both addresses allow it. */
  function canBeLarge(address: number, guestAddress: number): boolean {
    if (address % largePage !== 0 || guestAddress % largePage !== 0) return false;
    for (let at = address; at < address + largePage; at += smallPage) if (owned.has(at)) return false;
    return true;
  }

  async function splitAt(address: number): Promise<boolean> {
    const first = base(address);
    if (owned.get(first) !== '2M') return false;
    await smashPage(machine, first);
    for (let at = first; at < first + largePage; at += smallPage) owned.set(at, '4K');
    return true;
  }

  return {
    preparePage: (address, guestAddress) => give(address, guestAddress, '4K', true),

    async makePrivate(guestAddress, size) {
      const address = systemAddress(guestAddress, size);
      if (size === '4K') {
        await splitAt(address);
        await give(address, guestAddress, '4K', false);
      } else if (owned.get(address) === '2M' || canBeLarge(address, guestAddress)) {
        await give(address, guestAddress, '2M', false);
      } else {
        for (let at = 0; at < largePage; at += smallPage) {
          await give(address + at, guestAddress + at, '4K', false);
        }
      }
    },

    async makeShared(guestAddress) {
      const address = systemAddress(guestAddress);
      await splitAt(address);
      if (!owned.has(address)) return;
      await takeBackPage(machine, address);
      owned.delete(address);
    },

    split: (guestAddress) => splitAt(systemAddress(guestAddress)),

    async isPrivate(guestAddress) {
      const entry = await machine.reverseMap.read(systemAddress(guestAddress));
      return entry.assigned && entry.asid === asid && entry.guestAddress === guestAddress;
    },

    async releaseAll() {
      const failures: unknown[] = [];
      for (const [address, size] of owned) {
        await takeBackPage(machine, address, size).then(
          () => owned.delete(address),
          (error: unknown) => failures.push(error),
        );
      }
      if (failures.length > 0) throw failures[0];
    },
  };
}

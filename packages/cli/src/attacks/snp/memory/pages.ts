import type { HostMachine } from '@vouchsafe/firmware';
import type { SoftwareSnpMachine } from '@vouchsafe/host';
import { type SnpPageType, snpLaunchUpdateBuffer, snpPageTypes } from '@vouchsafe/sev';
import { runCommand } from '../meddling.js';
import type { BootedSnpGuest, SnpRig } from '../world.js';

/** Pages of a guest as its host moves them about. */

export const pageSize = 0x1000;

export type Guest = Pick<SoftwareSnpMachine, 'asid' | 'gctxAddress' | 'memory' | 'vmsaAddresses'>;

/** System physical address of a page of the guest's. */
export const placeOf = ({ memory }: Guest, guestAddress: number) =>
  memory.requireSystemAddress(guestAddress, pageSize);

export interface GivenPage {
  /** 0: the hypervisor's own. */
  readonly asid: number;
  readonly guestAddress: number;
  readonly immutable?: boolean;
}

/** RMPUPDATE of one page of 4 KiB. @returns its status */
export function give(
  host: HostMachine,
  address: number,
  { asid, guestAddress, immutable = false }: GivenPage,
): Promise<number> {
  return host.reverseMap.update(address, { assigned: asid !== 0, immutable, asid, guestAddress, size: '4K' });
}

/** RMPUPDATE: the page is the hypervisor's. */
export const takeBack = (host: HostMachine, address: number) =>
  give(host, address, { asid: 0, guestAddress: 0 });

/** LAUNCH_UPDATE of one page more, which the host has made the guest's as it does with every page of a launch. */
export async function loadMore(
  host: HostMachine,
  guest: Guest,
  page: {
    readonly guestAddress: number;
    readonly type: SnpPageType;
    readonly asid?: number;
    readonly immutable?: boolean;
  },
): Promise<void> {
  const { guestAddress, type, asid = guest.asid, immutable = true } = page;
  const address = placeOf(guest, guestAddress);
  await give(host, address, { asid, guestAddress, immutable });
  const buffer = snpLaunchUpdateBuffer.build({
    gctxAddress: guest.gctxAddress,
    page: { large: false, type: snpPageTypes[type], imiPage: false },
    pageAddress: BigInt(address),
  });
  await runCommand(host, 'SNP_LAUNCH_UPDATE', buffer);
}

/** Two pages that the guest calls its own. */
export const [ownPage, otherPage] = [0x18_0000, 0x19_0000];
export const fill = (value: number) => new Uint8Array(pageSize).fill(value);

/** A guest that has written what it knows into both pages. */
export async function withPages(rig: SnpRig): Promise<BootedSnpGuest> {
  const booted = await rig.boot();
  await booted.view.writePrivate(ownPage, fill(0x41));
  await booted.view.writePrivate(otherPage, fill(0x42));
  return booted;
}

import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { rmpUpdateStatus, snpPageReclaimBuffer, UnavailableError } from '@vouchsafe/sev';
import { FirmwareCommandError } from '../platform/firmware-error.js';
import { allocateHostMemory, type HostAllocation } from '../platform/host-memory.js';
import { withMailbox } from '../platform/mailbox.js';

/** Pages and their owners: RMPUPDATE as a hypervisor uses it, with the firmware's help for pages that are immutable. */

export const smallPage = 0x1000;
export const largePage = 0x20_0000;

type RmpUpdate = Parameters<HostMachine['reverseMap']['update']>[1];

/** @throws UnavailableError when RMPUPDATE does not do it */
export async function updatePage(machine: HostMachine, address: number, update: RmpUpdate): Promise<void> {
  requireSuccess('RMPUPDATE', address, await machine.reverseMap.update(address, update));
}

/** Breaks a page of 2 MiB into 4 KiB ones. @throws UnavailableError when PSMASH does not do it */
export async function smashPage(machine: HostMachine, address: number): Promise<void> {
  requireSuccess('PSMASH', address, await machine.reverseMap.smash(address));
}

function requireSuccess(instruction: string, address: number, status: number): void {
  if (status === rmpUpdateStatus.SUCCESS) return;
  const name = Object.entries(rmpUpdateStatus).find(([, code]) => code === status)?.[0] ?? String(status);
  throw new UnavailableError('page', `${instruction} of 0x${address.toString(16)} answered ${name}`, {
    hint: 'something else owns the page, or uses it: the reverse map table says what (RMPREAD)',
  });
}

const hypervisors = { assigned: false, immutable: false, asid: 0, guestAddress: 0 } as const;
const firmwares = { assigned: true, immutable: true, asid: 0, guestAddress: 0 } as const;

/** Gives a page back to the hypervisor. One that is immutable, the firmware has to let go first. */
export async function takeBackPage(
  machine: HostMachine,
  address: number,
  size: '4K' | '2M' = '4K',
): Promise<void> {
  const entry = await machine.reverseMap.read(address);
  if (!entry.assigned) return;
  if (entry.immutable) await reclaimPage(machine, address, size);
  await updatePage(machine, address, { ...hypervisors, size });
}

/** SNP_PAGE_RECLAIM: the firmware gives up its claim on a page. */
async function reclaimPage(machine: HostMachine, address: number, size: '4K' | '2M'): Promise<void> {
  const page = { large: size === '2M', frame: address / smallPage };
  await withMailbox(machine, ({ run }) => run('SNP_PAGE_RECLAIM', snpPageReclaimBuffer.build({ page })));
}

/** Firmware pages that could not be taken back, by machine: while SEV-SNP is shut down, the firmware lets none go. */
const stuck = new WeakMap<HostMachine, HostAllocation[]>();

/** Takes a page of memory and makes it the firmware's, which then writes there and the host does not. */
export async function allocateFirmwarePage(machine: HostMachine): Promise<HostAllocation> {
  const page = stuck.get(machine)?.pop() ?? allocateHostMemory(machine, smallPage);
  try {
    const { immutable } = await machine.reverseMap.read(page.address);
    if (!immutable) await updatePage(machine, page.address, { ...firmwares, size: '4K' });
    return page;
  } catch (error) {
    page.free();
    throw error;
  }
}

/** The end of such a page. */
export async function freeFirmwarePage(machine: HostMachine, page: HostAllocation): Promise<void> {
  try {
    await takeBackPage(machine, page.address);
    page.free();
  } catch (error) {
    const isShutDown = error instanceof FirmwareCommandError && error.statusName === 'INVALID_PLATFORM_STATE';
    if (!isShutDown) throw error;
    stuck.set(machine, [...(stuck.get(machine) ?? []), page]);
  }
}

/** Whether there is a reverse map table: from the first SNP_INIT on. */
export async function hasReverseMap(machine: HostMachine): Promise<boolean> {
  try {
    await machine.reverseMap.read(smallPage);
    return true;
  } catch (error) {
    if (error instanceof UnavailableError) return false;
    throw error;
  }
}

import {
  snpActivateBuffer,
  snpActivateExBuffer,
  snpGctxBuffer,
  snpGuestStatus,
  snpGuestStatusBuffer,
} from '@vouchsafe/sev';
import { refuseUnless } from '../../processor/command-refusal.js';
import { smallPage } from '../../rmp/page-state.js';
import { requireAdmission } from '../guest-contexts.js';
import type { SnpCall } from './command-handlers.js';

/** Managing SNP guests: contexts, address space ids, status, end. */

/** A Firmware page becomes the guest's Context page. The context itself stays inside; the page shows noise. */
export async function snpGctxCreate({ firmware, processor, request }: SnpCall): Promise<void> {
  const { gctxAddress } = request.command(snpGctxBuffer);
  const { guests, reverseMap } = firmware.session;
  const page = request.page(gctxAddress);
  refuseUnless(reverseMap.entry(page).size === '4K', 'INVALID_PAGE_SIZE');
  refuseUnless(reverseMap.state(page) === 'Firmware', 'INVALID_PAGE_STATE');
  reverseMap.setState(page, 'Context');
  processor.memory.write(page, processor.random(smallPage));
  guests.create(page);
}

export async function snpActivate({ firmware, request }: SnpCall): Promise<void> {
  const { gctxAddress, asid } = request.command(snpActivateBuffer);
  const { guests, asids } = firmware.session;
  const guest = guests.named(request.page(gctxAddress));
  asids.requireAvailable(asid, guest);
  asids.activate(asid, guest);
}

/** Limits the guest to some core complexes, of which this machine has one; repeating it with the same ASID adds more. */
export async function snpActivateEx({ firmware, request }: SnpCall): Promise<void> {
  const { length, gctxAddress, asid, idCount, idListAddress } = request.command(snpActivateExBuffer);
  refuseUnless(length === snpActivateExBuffer.size, 'INVALID_LENGTH');
  const { guests, asids } = firmware.session;
  const guest = guests.named(request.page(gctxAddress));
  request.range(idListAddress, 4 * idCount);
  if (guest.asid !== undefined && guest.asid === asid) {
    requireAdmission('SNP_ACTIVATE_EX', guest);
    return;
  }
  asids.requireAvailable(asid, guest);
  asids.activate(asid, guest);
}

/** The end of a guest in any state: its keys are wiped, its Context page is a Firmware page again. */
export async function snpDecommission({ firmware, request }: SnpCall): Promise<void> {
  const { gctxAddress } = request.command(snpGctxBuffer);
  firmware.remove(firmware.session.guests.admit('SNP_DECOMMISSION', request.page(gctxAddress)));
}

export async function snpGuestStatusCommand({ firmware, request }: SnpCall): Promise<void> {
  const { gctxAddress, statusAddress } = request.command(snpGuestStatusBuffer);
  const guest = firmware.session.guests.admit('SNP_GUEST_STATUS', request.page(gctxAddress));
  const status = snpGuestStatus.build({
    policy: guest.launch?.policy.word ?? 0n,
    asid: guest.asid ?? 0,
    state: guest.state,
  });
  request.placeResult(statusAddress, status);
}

import {
  type SnpCommandName,
  snpPageMdInitBuffer,
  snpPageMoveBuffer,
  snpPageReclaimBuffer,
  snpPageSwapInBuffer,
  snpPageSwapOutBuffer,
  snpPageUnsmashBuffer,
} from '@vouchsafe/sev';
import { refuse, refuseUnless } from '../../processor/command-refusal.js';
import { isGuestState, largePage, type PageState, smallPage } from '../../rmp/page-state.js';
import type { SnpCall } from './command-handlers.js';

/** Commands on pages that name no guest, and the places of those that come with migration. */

const reclaimable: readonly PageState[] = ['Firmware', 'Metadata', 'Pre-Guest', 'Pre-Swap'];

/** Makes an immutable page the host's to change again. A Context page is given up by DECOMMISSION first. */
export async function snpPageReclaim({ firmware, request }: SnpCall): Promise<void> {
  const { page: given } = request.command(snpPageReclaimBuffer);
  const { reverseMap } = firmware.session;
  const size = given.large ? '2M' : '4K';
  const page = request.page(BigInt(given.frame) * BigInt(smallPage), size);
  refuseUnless(reverseMap.entry(page).size === size, 'INVALID_PAGE_SIZE');
  refuseUnless(reclaimable.includes(reverseMap.state(page)), 'INVALID_PAGE_STATE');
  reverseMap.setState(page, 'Reclaim');
}

/** Undoes PSMASH: 512 pages that are alike and follow each other in the guest become one. */
export async function snpPageUnsmash({ firmware, request }: SnpCall): Promise<void> {
  const { page: given } = request.command(snpPageUnsmashBuffer);
  const { reverseMap } = firmware.session;
  const first = request.page(BigInt(given.frame) * BigInt(smallPage), '2M');
  const { size, asid } = reverseMap.entry(first);
  refuseUnless(size === '4K', 'INVALID_PAGE_SIZE');
  refuseUnless(isGuestState(reverseMap.state(first)), 'INVALID_PAGE_STATE');
  for (let at = first; at < first + largePage; at += smallPage) {
    refuseUnless(isGuestState(reverseMap.state(at)), 'INVALID_PAGE_STATE');
    refuseUnless(reverseMap.entry(at).asid === asid, 'INVALID_PAGE_OWNER');
  }
  refuseUnless(reverseMap.join(first), 'INVALID_PAGE_STATE');
}

export async function snpPageMove(call: SnpCall): Promise<void> {
  swapping('SNP_PAGE_MOVE', call, call.request.command(snpPageMoveBuffer));
}

export async function snpPageSwapOut(call: SnpCall): Promise<void> {
  swapping('SNP_PAGE_SWAP_OUT', call, call.request.command(snpPageSwapOutBuffer));
}

export async function snpPageSwapIn(call: SnpCall): Promise<void> {
  swapping('SNP_PAGE_SWAP_IN', call, call.request.command(snpPageSwapInBuffer));
}

export async function snpPageMdInit({ firmware, request }: SnpCall): Promise<void> {
  const { gctxAddress } = request.command(snpPageMdInitBuffer);
  firmware.session.guests.admit('SNP_PAGE_MD_INIT', request.page(gctxAddress));
  refuse('UNSUPPORTED');
}

/** Moving and swapping come with migration; who may not be moved is refused already. */
function swapping(
  name: SnpCommandName,
  { firmware, request }: SnpCall,
  { gctxAddress }: { readonly gctxAddress: bigint },
): never {
  const guest = firmware.session.guests.admit(name, request.page(gctxAddress));
  refuseUnless(!guest.launched.policy.pageSwapDisabled, 'POLICY_FAILURE');
  refuse('UNSUPPORTED');
}

import {
  buildPageStateChange,
  type PageStateChange,
  type PageStateChangeEntry,
  parsePageStateChange,
  UnavailableError,
} from '@vouchsafe/sev';
import type { GuestPageOwner } from '../guest-pages.js';

/** What a page state change comes to: the list as the guest gets it back, and SW_EXITINFO2. */
export interface PageStateAnswer {
  readonly list: Uint8Array;
  readonly exitInfo2: bigint;
}

/** SW_EXITINFO2 of page state changes that failed (GHCB specification 2.0, 4.1.6). */
export const pageStateErrors = {
  INVALID_HEADER: (1n << 32n) | 1n,
  INVALID_ENTRY: (1n << 32n) | 2n,
  GENERIC: 0x100n << 32n,
} as const;

/**
 * Does what a guest's list of page state changes says, from the entry on that it names as the next.
 * @param list the shared buffer of its GHCB, as it was copied
 */
export async function changePageStates(pages: GuestPageOwner, list: Uint8Array): Promise<PageStateAnswer> {
  let change: PageStateChange;
  try {
    change = parsePageStateChange(list);
  } catch {
    return { list, exitInfo2: pageStateErrors.INVALID_HEADER };
  }
  const { entries } = change;
  for (let current = change.current; current < entries.length; current++) {
    const exitInfo2 = await changePageState(pages, entries[current]!);
    if (exitInfo2 !== 0n) return { list: buildPageStateChange({ current, entries }), exitInfo2 };
  }
  return { list: buildPageStateChange({ current: entries.length, entries }), exitInfo2: 0n };
}

/** @returns SW_EXITINFO2 */
export async function changePageState(
  pages: GuestPageOwner,
  { operation, address, large }: Pick<PageStateChangeEntry, 'operation' | 'address' | 'large'>,
): Promise<bigint> {
  try {
    switch (operation) {
      case 'PRIVATE':
        await pages.makePrivate(address, large ? '2M' : '4K');
        return 0n;
      case 'SHARED':
        for (let at = 0; at < (large ? 512 : 1); at++) await pages.makeShared(address + at * 0x1000);
        return 0n;
      case 'PSMASH':
        return (await pages.split(address)) ? 0n : pageStateErrors.INVALID_ENTRY;
      // Pages of 4 KiB that were validated one by one are of no harm to this machine.
      case 'UNSMASH':
        return 0n;
    }
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    return error.what === 'guest memory' ? pageStateErrors.INVALID_ENTRY : pageStateErrors.GENERIC;
  }
}

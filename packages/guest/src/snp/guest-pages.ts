import { GuestFault, type GuestView } from '@vouchsafe/firmware/guest-view';
import {
  buildPageStateChange,
  ghcb,
  ghcbExitCodes,
  type LaunchArea,
  MalformedError,
  type PageStateChangeEntry,
  pageStateChangeLimit,
  parsePageStateChange,
  pvalidateStatus,
  VouchsafeError,
} from '@vouchsafe/sev';
import { callHost } from './ghcb-exit.js';

/** The host gave the guest memory in a way that the guest must not accept. */
export class GuestMemoryError extends VouchsafeError {
  readonly code = 'guest-memory';
  /**
   * `validated-before`: the first validation of a page changed nothing, so another page was in its place before, or is
   * now. `refused`: PVALIDATE failed. `not-changed`: the host did not do what it was asked for.
   */
  readonly kind: 'validated-before' | 'refused' | 'not-changed';
  readonly address: number;

  constructor(kind: GuestMemoryError['kind'], address: number, found: string) {
    super(`memory at 0x${address.toString(16)}: ${found}`, {
      hint: 'the host broke its promises about memory: nothing in this guest is safe from it',
    });
    this.kind = kind;
    this.address = address;
  }
}

/** A guest's own memory under SEV-SNP: what is private must be validated by the guest, once, and what is shared must not. */
export interface GuestPages {
  /** Makes whole pages shared with the host. Their contents are lost. */
  share(area: LaunchArea): Promise<void>;
  /** Makes whole pages that the launch did not prepare the guest's own. @throws GuestMemoryError */
  accept(area: LaunchArea): Promise<void>;
}

type PageSize = '4K' | '2M';

const smallPage = 0x1000;
const largePage = 0x20_0000;

export interface GuestPagesOptions {
  readonly view: GuestView;
  /** Shared with the host already. */
  readonly ghcbAddress: number;
  /** Pages that the launch put into the guest: validated before the guest ran. */
  readonly launched: readonly LaunchArea[];
}

export function guestPages({ view, ghcbAddress, launched }: GuestPagesOptions): GuestPages {
  const validated = new Set(launched.flatMap((area) => pagesOf(area)));

  async function share(area: LaunchArea): Promise<void> {
    for (const address of pagesOf(area)) {
      if (validated.delete(address)) await validate(view, address, '4K', false);
    }
    await changePageStates(view, ghcbAddress, piecesOf(area, 'SHARED'));
  }

  async function accept(area: LaunchArea): Promise<void> {
    const pieces = piecesOf(area, 'PRIVATE');
    await changePageStates(view, ghcbAddress, pieces);
    for (const { address, large } of pieces) {
      await acceptPiece(view, address, large);
      for (const page of pagesOf({ base: address, size: large ? largePage : smallPage })) validated.add(page);
    }
  }

  return { share, accept };
}

/** A host may keep 4 KiB pages where the guest asked for 2 MiB: then they are validated one by one. */
async function acceptPiece(view: GuestView, address: number, large: boolean): Promise<void> {
  if (large && (await validate(view, address, '2M', true))) return;
  for (const page of pagesOf({ base: address, size: large ? largePage : smallPage })) {
    await validate(view, page, '4K', true);
  }
}

/**
 * PVALIDATE, whose success must be a change.
 * @returns false when the page has another size in the reverse map table
 */
async function validate(view: GuestView, address: number, size: PageSize, wanted: boolean): Promise<boolean> {
  const { status, changed } = await view.pvalidate(address, { size, validate: wanted });
  if (status === pvalidateStatus.FAIL_SIZEMISMATCH && size === '2M') return false;
  if (status !== pvalidateStatus.SUCCESS) {
    throw new GuestMemoryError('refused', address, `PVALIDATE failed with ${status}`);
  }
  if (!changed) {
    throw new GuestMemoryError(
      'validated-before',
      address,
      wanted ? 'it was validated before' : 'it was not validated any more',
    );
  }
  return true;
}

/** @throws GuestMemoryError when the host did not carry everything out; MalformedError when it altered the list */
async function changePageStates(
  view: GuestView,
  ghcbAddress: number,
  entries: readonly PageStateChangeEntry[],
): Promise<void> {
  for (let from = 0; from < entries.length; from += pageStateChangeLimit) {
    const some = entries.slice(from, from + pageStateChangeLimit);
    const { exitInfo2, sharedBuffer } = await callHost(view, ghcbAddress, {
      exitCode: ghcbExitCodes.PAGE_STATE_CHANGE,
      scratch: BigInt(ghcbAddress + ghcb.offsetOf('sharedBuffer')),
      sharedBuffer: buildPageStateChange({ current: 0, entries: some }),
    });
    const { current, entries: answered } = parsePageStateChange(sharedBuffer);
    requireSameList(some, answered);
    if (exitInfo2 !== 0n || current !== some.length) {
      const { address } = some[Math.min(current, some.length - 1)]!;
      throw new GuestMemoryError(
        'not-changed',
        address,
        `the host did not change it (0x${exitInfo2.toString(16)})`,
      );
    }
  }
}

/** The host counts what it is done with; what it was to do is the guest's alone to say. */
function requireSameList(
  asked: readonly PageStateChangeEntry[],
  answered: readonly PageStateChangeEntry[],
): void {
  const same = (a: PageStateChangeEntry, b: PageStateChangeEntry | undefined) =>
    a.address === b?.address && a.operation === b.operation && a.large === b.large;
  if (asked.length === answered.length && asked.every((each, i) => same(each, answered[i]))) return;
  throw new MalformedError({
    structure: 'page state change',
    field: 'entries',
    offset: 0,
    expected: 'the entries that the guest wrote',
    found: 'others',
  });
}

function piecesOf({ base, size }: LaunchArea, operation: 'PRIVATE' | 'SHARED'): PageStateChangeEntry[] {
  const pieces: PageStateChangeEntry[] = [];
  for (let address = base; address < base + size; ) {
    const large = operation === 'PRIVATE' && address % largePage === 0 && address + largePage <= base + size;
    pieces.push({ address, operation, large, currentPage: 0 });
    address += large ? largePage : smallPage;
  }
  return pieces;
}

function pagesOf({ base, size }: LaunchArea): number[] {
  return Array.from({ length: Math.ceil(size / smallPage) }, (_, i) => base + i * smallPage);
}

/** Whether a fault is the guest's own memory gone: private memory that was validated and is not any more. */
export function isMemoryTaken(error: unknown): boolean {
  return error instanceof GuestFault && error.fault === 'page-not-validated';
}

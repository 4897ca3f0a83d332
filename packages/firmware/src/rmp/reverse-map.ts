import { InvalidArgumentError, type PageState, pageStates } from '@vouchsafe/sev';
import type { PageSize, RmpRead, RmpUpdate } from '../mailbox.js';
import type { MemoryRange } from '../memory/dram.js';
import { EntryTable, type PageRun, somePage } from './entry-table.js';
import {
  bytesOf,
  initialPermissions,
  isGuestState,
  largePage,
  type RmpEntry,
  type RmpStatus,
  rmpStatus,
  smallPage,
  stateOf,
  type VmplPermissions,
} from './page-state.js';

/** What a state needs besides its bits. Guest pages keep what is not given; other pages keep nothing. */
export interface PageAttributes {
  readonly asid?: number;
  /** Bytes, of the page's first byte. For Metadata pages: the mark of their owner. */
  readonly guestAddress?: number;
  readonly vmsa?: boolean;
  readonly permissions?: VmplPermissions;
}

/** Of a page that its owner has not seen yet. */
const nothingSaid = { validated: false, vmsa: false, permissions: initialPermissions } as const;

/**
 * The reverse map table (RMP): for every page of system physical memory its owner, where the owner has it, and what the
 * privilege levels inside may do with it. One page has one owner and one guest address, which is what keeps a host from
 * replaying, remapping and aliasing. All addresses are system physical, in bytes, unless they are called guest addresses.
 *
 * Instructions of the host are `update` (RMPUPDATE), `smash` (PSMASH) and `read` (RMPREAD). PVALIDATE and RMPADJUST are
 * in guest-instructions.ts. `setState`, `join` and what they need belong to the processor's firmware alone.
 */
export class ReverseMap {
  readonly #entries: EntryTable;
  readonly #inUse = new Set<number>();
  readonly #maximumAsid: number;

  /** Covers all of memory; every page belongs to the hypervisor. */
  constructor(memory: { readonly size: number }, limits: { readonly maximumAsid: number }) {
    this.#entries = new EntryTable(memory);
    this.#maximumAsid = limits.maximumAsid;
  }

  /** RMPUPDATE. What the guest has validated stays so only if nothing but `immutable` changes. */
  update(address: number, request: RmpUpdate): RmpStatus {
    if (!this.#isUsable(address, request)) return rmpStatus.FAIL_INPUT;
    const pages = pageRun(address, request.size);
    if (this.#isAnyInUse(pages)) return rmpStatus.FAIL_INUSE;
    if (somePage(pages, (page) => this.#entries.isImmutable(page))) return rmpStatus.FAIL_PERMISSION;
    if (this.#overlaps(address, request.size)) return rmpStatus.FAIL_OVERLAP;

    const old = this.entry(address);
    const keeps =
      old.asid === request.asid && old.guestAddress === request.guestAddress && old.size === request.size;
    // A page of 4 KiB in the place of one of 2 MiB: the rest of it goes back to the hypervisor.
    if (old.size === '2M') this.#entries.clear(pageRun(address, '2M'));
    const { validated, vmsa, permissions } = keeps ? old : nothingSaid;
    if (request.assigned) this.#write(address, { ...request, validated, vmsa, permissions });
    else this.#entries.clear(pages);
    return rmpStatus.SUCCESS;
  }

  /** PSMASH: 512 pages of 4 KiB instead of one of 2 MiB; everything else stays. */
  smash(address: number): RmpStatus {
    if (!this.#entries.hasPage(address, '2M')) return rmpStatus.FAIL_INPUT;
    const pages = pageRun(address, '2M');
    if (this.#isAnyInUse(pages)) return rmpStatus.FAIL_INUSE;
    if (!this.#entries.isLarge(pages.first)) return rmpStatus.FAIL_BADADDR;
    if (this.#entries.isImmutable(pages.first)) return rmpStatus.FAIL_PERMISSION;
    this.#entries.setLarge(pages, false);
    return rmpStatus.SUCCESS;
  }

  /**
   * RMPREAD: what the host may see of an entry.
   * @throws InvalidArgumentError for an address that is no page of memory
   */
  read(address: number): RmpRead {
    const { assigned, size, immutable, guestAddress, asid } = this.entry(address);
    return { assigned, size, immutable, guestAddress, asid };
  }

  /** @throws InvalidArgumentError for an address that is no page of memory */
  entry(address: number): RmpEntry {
    return this.#entries.entry(this.#entries.pageOf(address));
  }

  /** @throws InvalidArgumentError for an address that is no page of memory */
  state(address: number): PageState {
    return stateOf(this.entry(address));
  }

  /**
   * Firmware only: puts a page into a state, whatever it was in before; its size stays. A page of 2 MiB is named by its
   * first byte.
   * @throws InvalidArgumentError for an address that is no page of memory, or lies inside a page of 2 MiB
   */
  setState(address: number, state: PageState, attributes: PageAttributes = {}): void {
    const old = this.entry(address);
    if (address % bytesOf(old.size) !== 0)
      throw new InvalidArgumentError('page', 'lies inside a page of 2 MiB');
    const { assigned, validated, immutable } = pageStates[state];
    if (isGuestState(state)) {
      this.#write(address, { ...old, ...attributes, assigned, validated, immutable });
      return;
    }
    this.#entries.clear(pageRun(address, old.size));
    if (state === 'Hypervisor') return;
    const { guestAddress = 0 } = attributes;
    this.#write(address, {
      assigned,
      validated,
      immutable,
      vmsa: state === 'Context',
      size: old.size,
      asid: 0,
      guestAddress: state === 'Metadata' ? guestAddress : 0,
      permissions: [0, 0, 0, 0],
    });
  }

  /**
   * Firmware only: makes one page of 2 MiB of 512 that are alike and follow each other in the guest too. False, and
   * nothing changed, where they are not.
   */
  join(address: number): boolean {
    if (!this.#entries.hasPage(address, '2M')) return false;
    const first = this.entry(address);
    if (first.size === '2M' || first.guestAddress % largePage !== 0) return false;
    const pages = pageRun(address, '2M');
    if (this.#isAnyInUse(pages)) return false;
    if (somePage(pages, (page) => !follows(this.#entries.entry(page), first, page - pages.first)))
      return false;
    this.#entries.setLarge(pages, true);
    return true;
  }

  /** PVALIDATE, once it is checked. Addresses a page by its first byte. */
  setValidated(address: number, validated: boolean): void {
    this.#write(address, { ...this.entry(address), validated });
  }

  /** RMPADJUST, once it is checked. */
  adjust(address: number, vmpl: number, permissions: number, vmsa: boolean): void {
    const old = this.entry(address);
    const changed: [number, number, number, number] = [...old.permissions];
    changed[vmpl] = permissions;
    this.#write(address, { ...old, vmsa, permissions: changed });
  }

  /** The first page in a range that is not the hypervisor's; nobody but its owner may write there. */
  firstAssigned(range: MemoryRange): number | undefined {
    if (this.#entries.isUnassigned) return undefined;
    const end = range.address + range.length;
    for (let at = range.address - (range.address % smallPage); at < end; at += smallPage) {
      if (this.#entries.isAssigned(at / smallPage)) return at;
    }
    return undefined;
  }

  /** Whether any page is still a guest's with this ASID, which is not 0. */
  hasPagesOf(asid: number): boolean {
    return this.#entries.hasAsid(asid);
  }

  /** A VMSA while its vCPU runs: instructions that would change its entry answer FAIL_INUSE. */
  hold(address: number): void {
    this.#inUse.add(this.#entries.pageOf(address));
  }

  release(address: number): void {
    this.#inUse.delete(this.#entries.pageOf(address));
  }

  isInUse(address: number): boolean {
    return this.#inUse.has(this.#entries.pageOf(address));
  }

  #isAnyInUse(pages: PageRun): boolean {
    return this.#inUse.size > 0 && somePage(pages, (page) => this.#inUse.has(page));
  }

  /** Rules for what RMPUPDATE may be asked (AMD64 APM volume 2, table 15-35): no state that only the firmware gives. */
  #isUsable(address: number, request: RmpUpdate): boolean {
    const { assigned, immutable, asid, guestAddress, size } = request;
    if (!this.#entries.hasPage(address, size)) return false;
    if (!Number.isSafeInteger(guestAddress) || guestAddress < 0) return false;
    if (guestAddress % bytesOf(size) !== 0) return false;
    if (!Number.isSafeInteger(asid) || asid < 0 || asid > this.#maximumAsid) return false;
    if (asid !== 0) return assigned;
    return guestAddress === 0 && assigned === immutable;
  }

  /** Whether the request would cut a page of 2 MiB in two, or swallow pages of 4 KiB. */
  #overlaps(address: number, size: PageSize): boolean {
    const pages = pageRun(address, size);
    const isLarge = this.#entries.isLarge(pages.first);
    if (size === '4K') return isLarge && address % largePage !== 0;
    return !isLarge && somePage(pages, (page) => this.#entries.isAssigned(page));
  }

  #write(address: number, entry: RmpEntry): void {
    this.#entries.write(address / smallPage, entry);
  }
}

function pageRun(address: number, size: PageSize): PageRun {
  return { first: address / smallPage, count: bytesOf(size) / smallPage };
}

/** Whether a page is like the first of its 512, and as far behind it in the guest as in memory. */
function follows(entry: RmpEntry, first: RmpEntry, distance: number): boolean {
  return (
    stateOf(entry) === stateOf(first) &&
    entry.vmsa === first.vmsa &&
    entry.asid === first.asid &&
    entry.guestAddress === first.guestAddress + distance * smallPage &&
    entry.permissions.every((each, vmpl) => each === first.permissions[vmpl])
  );
}

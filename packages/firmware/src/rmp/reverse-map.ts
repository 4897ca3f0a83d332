import { InvalidArgumentError, type PageState, pageStates } from '@vouchsafe/sev';
import type { PageSize, RmpRead, RmpUpdate } from '../mailbox.js';
import type { MemoryRange } from '../memory/dram.js';
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

const bit = { assigned: 1, large: 2, immutable: 4, validated: 8, vmsa: 16 } as const;

/**
 * The reverse map table (RMP): for every page of system physical memory its owner, where the owner has it, and what the
 * privilege levels inside may do with it. One page has one owner and one guest address, which is what keeps a host from
 * replaying, remapping and aliasing. All addresses are system physical, in bytes, unless they are called guest addresses.
 *
 * A page of 2 MiB is written into its 512 entries, so that every lookup is one entry.
 *
 * Instructions of the host are `update` (RMPUPDATE), `smash` (PSMASH) and `read` (RMPREAD). PVALIDATE and RMPADJUST are
 * in guest-instructions.ts. `setState`, `join` and what they need belong to the processor's firmware alone.
 */
export class ReverseMap {
  readonly #flags: Uint8Array;
  readonly #asids: Uint16Array;
  readonly #guestPages: Float64Array;
  readonly #permissions: Uint8Array;
  readonly #inUse = new Set<number>();
  readonly #maximumAsid: number;
  #assigned = 0;

  /** Covers all of memory; every page belongs to the hypervisor. */
  constructor(memory: { readonly size: number }, limits: { readonly maximumAsid: number }) {
    const pages = Math.floor(memory.size / smallPage);
    this.#flags = new Uint8Array(pages);
    this.#asids = new Uint16Array(pages);
    this.#guestPages = new Float64Array(pages);
    this.#permissions = new Uint8Array(4 * pages);
    this.#maximumAsid = limits.maximumAsid;
  }

  /** RMPUPDATE. What the guest has validated stays so only if nothing but `immutable` changes. */
  update(address: number, request: RmpUpdate): RmpStatus {
    if (!this.#isUsable(address, request)) return rmpStatus.FAIL_INPUT;
    const pages = this.#pages(address, request.size);
    if (this.#some(pages, (page) => this.#inUse.has(page))) return rmpStatus.FAIL_INUSE;
    if (this.#some(pages, (page) => this.#has(page, bit.immutable))) return rmpStatus.FAIL_PERMISSION;
    if (this.#overlaps(address, request.size)) return rmpStatus.FAIL_OVERLAP;

    const old = this.entry(address);
    const keeps =
      old.asid === request.asid && old.guestAddress === request.guestAddress && old.size === request.size;
    // A page of 4 KiB in the place of one of 2 MiB: the rest of it goes back to the hypervisor.
    if (old.size === '2M') this.#clear(this.#pages(address, '2M'));
    const { validated, vmsa, permissions } = keeps ? old : nothingSaid;
    if (request.assigned) this.#write(address, { ...request, validated, vmsa, permissions });
    else this.#clear(pages);
    return rmpStatus.SUCCESS;
  }

  /** PSMASH: 512 pages of 4 KiB instead of one of 2 MiB; everything else stays. */
  smash(address: number): RmpStatus {
    if (!this.#isCovered(address, largePage)) return rmpStatus.FAIL_INPUT;
    const pages = this.#pages(address, '2M');
    const first = pages.first;
    if (this.#some(pages, (page) => this.#inUse.has(page))) return rmpStatus.FAIL_INUSE;
    if (!this.#has(first, bit.large)) return rmpStatus.FAIL_BADADDR;
    if (this.#has(first, bit.immutable)) return rmpStatus.FAIL_PERMISSION;
    this.#each(pages, (page) => {
      this.#flags[page]! &= ~bit.large;
    });
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
    const page = this.#page(address);
    return {
      assigned: this.#has(page, bit.assigned),
      validated: this.#has(page, bit.validated),
      immutable: this.#has(page, bit.immutable),
      vmsa: this.#has(page, bit.vmsa),
      size: this.#has(page, bit.large) ? '2M' : '4K',
      asid: this.#asids[page]!,
      guestAddress: this.#guestPages[page]! * smallPage,
      permissions: this.#permissionsOf(page),
    };
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
    this.#clear(this.#pages(address, old.size));
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
    if (!this.#isCovered(address, largePage)) return false;
    const first = this.entry(address);
    if (!first.assigned || first.size === '2M' || first.guestAddress % largePage !== 0) return false;
    const pages = this.#pages(address, '2M');
    const differs = (page: number) =>
      this.#inUse.has(page) ||
      this.#flags[page] !== this.#flags[pages.first] ||
      this.#asids[page] !== first.asid ||
      this.#guestPages[page] !== this.#guestPages[pages.first]! + (page - pages.first) ||
      this.#permissionsOf(page).some((each, vmpl) => each !== first.permissions[vmpl]);
    if (this.#some(pages, differs)) return false;
    this.#each(pages, (page) => {
      this.#flags[page]! |= bit.large;
    });
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
    if (this.#assigned === 0) return undefined;
    const end = range.address + range.length;
    for (let at = range.address - (range.address % smallPage); at < end; at += smallPage) {
      if (this.#has(at / smallPage, bit.assigned)) return at;
    }
    return undefined;
  }

  /** Whether any page is still a guest's with this ASID, which is not 0. */
  hasPagesOf(asid: number): boolean {
    return this.#asids.includes(asid);
  }

  /** A VMSA while its vCPU runs: instructions that would change its entry answer FAIL_INUSE. */
  hold(address: number): void {
    this.#inUse.add(this.#page(address));
  }

  release(address: number): void {
    this.#inUse.delete(this.#page(address));
  }

  isInUse(address: number): boolean {
    return this.#inUse.has(this.#page(address));
  }

  /** Rules for what RMPUPDATE may be asked (AMD64 APM volume 2, table 15-35): no state that only the firmware gives. */
  #isUsable(address: number, request: RmpUpdate): boolean {
    const { assigned, immutable, asid, guestAddress, size } = request;
    const length = bytesOf(size);
    if (!this.#isCovered(address, length)) return false;
    if (!Number.isSafeInteger(guestAddress) || guestAddress < 0 || guestAddress % length !== 0) return false;
    if (!Number.isSafeInteger(asid) || asid < 0 || asid > this.#maximumAsid) return false;
    if (asid !== 0) return assigned;
    return guestAddress === 0 && assigned === immutable;
  }

  #isCovered(address: number, length: number): boolean {
    if (!Number.isSafeInteger(address) || address < 0 || address % length !== 0) return false;
    return address + length <= this.#flags.length * smallPage;
  }

  /** Whether the request would cut a page of 2 MiB in two, or swallow pages of 4 KiB. */
  #overlaps(address: number, size: PageSize): boolean {
    const pages = this.#pages(address, size);
    const isLarge = this.#has(pages.first, bit.large);
    if (size === '4K') return isLarge && address % largePage !== 0;
    return !isLarge && this.#some(pages, (page) => this.#has(page, bit.assigned));
  }

  #write(address: number, entry: RmpEntry): void {
    const flags =
      (entry.assigned ? bit.assigned : 0) |
      (entry.size === '2M' ? bit.large : 0) |
      (entry.immutable ? bit.immutable : 0) |
      (entry.validated ? bit.validated : 0) |
      (entry.vmsa ? bit.vmsa : 0);
    const pages = this.#pages(address, entry.size);
    const isPlaced = entry.asid !== 0;
    this.#each(pages, (page) => {
      this.#assigned += Number(entry.assigned) - Number(this.#has(page, bit.assigned));
      this.#flags[page] = flags;
      this.#asids[page] = entry.asid;
      this.#guestPages[page] = entry.guestAddress / smallPage + (isPlaced ? page - pages.first : 0);
      this.#permissions.set(entry.permissions, 4 * page);
    });
  }

  #clear(pages: PageRun): void {
    this.#each(pages, (page) => {
      if (this.#has(page, bit.assigned)) this.#assigned -= 1;
      this.#flags[page] = 0;
      this.#asids[page] = 0;
      this.#guestPages[page] = 0;
      this.#permissions.fill(0, 4 * page, 4 * page + 4);
    });
  }

  #permissionsOf(page: number): VmplPermissions {
    const at = 4 * page;
    const bytes = this.#permissions;
    return [bytes[at]!, bytes[at + 1]!, bytes[at + 2]!, bytes[at + 3]!];
  }

  #page(address: number): number {
    const page = Math.floor(address / smallPage);
    if (!Number.isSafeInteger(address) || address < 0 || page >= this.#flags.length) {
      throw new InvalidArgumentError('page', 'lies beyond the end of memory');
    }
    return page;
  }

  #pages(address: number, size: PageSize): PageRun {
    const first = address / smallPage;
    return { first, count: bytesOf(size) / smallPage };
  }

  #has(page: number, flag: number): boolean {
    return (this.#flags[page]! & flag) !== 0;
  }

  #each({ first, count }: PageRun, change: (page: number) => void): void {
    for (let page = first; page < first + count; page++) change(page);
  }

  #some({ first, count }: PageRun, holds: (page: number) => boolean): boolean {
    for (let page = first; page < first + count; page++) if (holds(page)) return true;
    return false;
  }
}

interface PageRun {
  readonly first: number;
  readonly count: number;
}

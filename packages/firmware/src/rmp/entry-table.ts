import { InvalidArgumentError } from '@vouchsafe/sev';
import type { PageSize } from '../mailbox.js';
import { bytesOf, type RmpEntry, smallPage, type VmplPermissions } from './page-state.js';

/** Some pages of 4 KiB that follow each other, by number. */
export interface PageRun {
  readonly first: number;
  readonly count: number;
}

const bit = { assigned: 1, large: 2, immutable: 4, validated: 8, vmsa: 16 } as const;

/**
 * The entries of the reverse map table, one for every 4 KiB of system physical memory. A page of 2 MiB is written into its
 * 512 entries, so that every lookup is one entry.
 */
export class EntryTable {
  readonly #flags: Uint8Array;
  readonly #asids: Uint16Array;
  readonly #guestPages: Float64Array;
  readonly #permissions: Uint8Array;
  #assigned = 0;

  /** Every page of memory belongs to the hypervisor. */
  constructor(memory: { readonly size: number }) {
    const pages = Math.floor(memory.size / smallPage);
    this.#flags = new Uint8Array(pages);
    this.#asids = new Uint16Array(pages);
    this.#guestPages = new Float64Array(pages);
    this.#permissions = new Uint8Array(4 * pages);
  }

  /** Whether a page of this size can begin at an address. */
  hasPage(address: number, size: PageSize): boolean {
    const length = bytesOf(size);
    if (!Number.isSafeInteger(address) || address < 0 || address % length !== 0) return false;
    return address + length <= this.#flags.length * smallPage;
  }

  /** @throws InvalidArgumentError beyond the end of memory */
  pageOf(address: number): number {
    const page = Math.floor(address / smallPage);
    if (!Number.isSafeInteger(address) || address < 0 || page >= this.#flags.length) {
      throw new InvalidArgumentError('page', 'lies beyond the end of memory');
    }
    return page;
  }

  entry(page: number): RmpEntry {
    const at = 4 * page;
    const bytes = this.#permissions;
    return {
      assigned: this.#has(page, bit.assigned),
      validated: this.#has(page, bit.validated),
      immutable: this.isImmutable(page),
      vmsa: this.#has(page, bit.vmsa),
      size: this.isLarge(page) ? '2M' : '4K',
      asid: this.#asids[page]!,
      guestAddress: this.#guestPages[page]! * smallPage,
      permissions: [bytes[at]!, bytes[at + 1]!, bytes[at + 2]!, bytes[at + 3]!],
    };
  }

  /** Writes a page of either size, as its entry says, by its first page of 4 KiB. */
  write(first: number, entry: RmpEntry): void {
    const flags =
      (entry.assigned ? bit.assigned : 0) |
      (entry.size === '2M' ? bit.large : 0) |
      (entry.immutable ? bit.immutable : 0) |
      (entry.validated ? bit.validated : 0) |
      (entry.vmsa ? bit.vmsa : 0);
    const isPlaced = entry.asid !== 0;
    for (const page of pagesIn({ first, count: bytesOf(entry.size) / smallPage })) {
      this.#assigned += Number(entry.assigned) - Number(this.isAssigned(page));
      this.#flags[page] = flags;
      this.#asids[page] = entry.asid;
      this.#guestPages[page] = entry.guestAddress / smallPage + (isPlaced ? page - first : 0);
      this.#permissions.set(entry.permissions, 4 * page);
    }
  }

  /** Gives pages back to the hypervisor. */
  clear(pages: PageRun): void {
    for (const page of pagesIn(pages)) this.write(page, hypervisors);
  }

  /** Makes one page of 512, or 512 of one; the rest of their entries stays. */
  setLarge(pages: PageRun, large: boolean): void {
    for (const page of pagesIn(pages)) {
      if (large) this.#flags[page]! |= bit.large;
      else this.#flags[page]! &= ~bit.large;
    }
  }

  isAssigned(page: number): boolean {
    return this.#has(page, bit.assigned);
  }

  isImmutable(page: number): boolean {
    return this.#has(page, bit.immutable);
  }

  isLarge(page: number): boolean {
    return this.#has(page, bit.large);
  }

  /** Whether no page is anybody's but the hypervisor's. */
  get isUnassigned(): boolean {
    return this.#assigned === 0;
  }

  hasAsid(asid: number): boolean {
    return this.#asids.includes(asid);
  }

  #has(page: number, flag: number): boolean {
    return (this.#flags[page]! & flag) !== 0;
  }
}

const noPermissions: VmplPermissions = [0, 0, 0, 0];

const hypervisors: RmpEntry = {
  assigned: false,
  validated: false,
  immutable: false,
  vmsa: false,
  size: '4K',
  asid: 0,
  guestAddress: 0,
  permissions: noPermissions,
};

function* pagesIn({ first, count }: PageRun): Generator<number> {
  for (let page = first; page < first + count; page++) yield page;
}

export function somePage(pages: PageRun, holds: (page: number) => boolean): boolean {
  for (const page of pagesIn(pages)) if (holds(page)) return true;
  return false;
}

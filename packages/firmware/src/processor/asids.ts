import type { MemoryEncryptionCapabilities } from '../mailbox.js';
import { refuseUnless } from './command-refusal.js';
import { type GuestContext, requireAdmission } from './guest-contexts.js';

/**
 * Of which address space ids the caches and the data fabric may hold lines. An id names the memory key that the memory
 * controller uses, so it must not pass to another guest before a flush. SEV, SEV-ES and SEV-SNP share ids and flushes.
 */
export class AsidCaches {
  readonly #maximumAsid: number;
  readonly #dirty = new Set<number>();
  #mayHoldGuestData = false;
  #areWrittenBack = true;

  constructor({ maximumAsid }: Pick<MemoryEncryptionCapabilities, 'maximumAsid'>) {
    this.#maximumAsid = maximumAsid;
  }

  isDirty(asid: number): boolean {
    return this.#dirty.has(asid);
  }

  /** Whether a guest left since the last flush. */
  get mayHoldGuestData(): boolean {
    return this.#mayHoldGuestData;
  }

  /** INIT: nothing is known of what ran before. */
  allDirty(): void {
    for (let asid = 1; asid <= this.#maximumAsid; asid++) this.#dirty.add(asid);
  }

  guestLeft(asid: number, { dirty }: { readonly dirty: boolean }): void {
    if (dirty) this.#dirty.add(asid);
    this.#mayHoldGuestData = true;
    this.#areWrittenBack = false;
  }

  /** WBINVD ran on all cores. */
  writtenBack(): void {
    this.#areWrittenBack = true;
  }

  /** DF_FLUSH: WBINVD_REQUIRED when a guest was deactivated and the caches were not written back since. */
  flush(): void {
    refuseUnless(this.#areWrittenBack, 'WBINVD_REQUIRED');
    this.#dirty.clear();
    this.#mayHoldGuestData = false;
  }
}

/** Address space ids of the guests of SEV and SEV-ES. INIT leaves all of them dirty. */
export class AsidTable {
  readonly #limits: MemoryEncryptionCapabilities;
  readonly #caches: AsidCaches;
  readonly #isTaken: (asid: number) => boolean;
  readonly #owners = new Map<number, GuestContext>();

  /** @param isTaken whether an SNP guest owns an id */
  constructor(limits: MemoryEncryptionCapabilities, caches: AsidCaches, isTaken: (asid: number) => boolean) {
    this.#limits = limits;
    this.#caches = caches;
    this.#isTaken = isTaken;
    caches.allDirty();
  }

  owner(asid: number): GuestContext | undefined {
    return this.#owners.get(asid);
  }

  isDirty(asid: number): boolean {
    return this.#caches.isDirty(asid);
  }

  /** ACTIVATE's checks, in the firmware's order. */
  requireAvailable(asid: number, guest: GuestContext): void {
    const { maximumAsid, minimumSevAsid } = this.#limits;
    refuseUnless(asid >= 1 && asid <= maximumAsid, 'INVALID_ASID');
    const owner = this.#owners.get(asid);
    refuseUnless(owner === undefined || owner === guest, 'ASID_OWNED');
    refuseUnless(!this.#isTaken(asid), 'ASID_OWNED');
    refuseUnless(guest.asid === undefined, 'ACTIVE');
    requireAdmission('ACTIVATE', guest);
    refuseUnless(!this.#caches.isDirty(asid), 'DF_FLUSH_REQUIRED');
    refuseUnless(guest.encryptedState ? asid < minimumSevAsid : asid >= minimumSevAsid, 'INVALID_ASID');
  }

  activate(asid: number, guest: GuestContext): void {
    this.#owners.set(asid, guest);
    guest.asid = asid;
    guest.hasRun = false;
  }

  /** The id of a guest that ran is dirty until the next flush. */
  deactivate(guest: GuestContext): void {
    if (guest.asid === undefined) return;
    this.#caches.guestLeft(guest.asid, { dirty: guest.hasRun });
    this.#owners.delete(guest.asid);
    guest.asid = undefined;
  }
}

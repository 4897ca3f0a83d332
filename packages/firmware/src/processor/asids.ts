import type { MemoryEncryptionCapabilities } from '../mailbox.js';
import { refuseUnless } from './command-refusal.js';
import { type GuestContext, requireAdmission } from './guest-contexts.js';

/**
 * Address space ids: each names the memory key that the memory controller uses, so an id must not pass to another guest
 * while caches can hold lines of the one before. INIT leaves all of them dirty.
 */
export class AsidTable {
  readonly #limits: MemoryEncryptionCapabilities;
  readonly #owners = new Map<number, GuestContext>();
  #dirty: Set<number>;
  #cachesMayHoldGuestData = false;

  constructor(limits: MemoryEncryptionCapabilities) {
    this.#limits = limits;
    this.#dirty = new Set(Array.from({ length: limits.maximumAsid }, (_, i) => i + 1));
  }

  owner(asid: number): GuestContext | undefined {
    return this.#owners.get(asid);
  }

  isDirty(asid: number): boolean {
    return this.#dirty.has(asid);
  }

  /** ACTIVATE's checks, in the firmware's order. */
  requireAvailable(asid: number, guest: GuestContext): void {
    const { maximumAsid, minimumSevAsid } = this.#limits;
    refuseUnless(asid >= 1 && asid <= maximumAsid, 'INVALID_ASID');
    const owner = this.#owners.get(asid);
    refuseUnless(owner === undefined || owner === guest, 'ASID_OWNED');
    refuseUnless(guest.asid === undefined, 'ACTIVE');
    requireAdmission('ACTIVATE', guest);
    refuseUnless(!this.#dirty.has(asid), 'DF_FLUSH_REQUIRED');
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
    if (guest.hasRun) this.#dirty.add(guest.asid);
    this.#owners.delete(guest.asid);
    this.#cachesMayHoldGuestData = true;
    guest.asid = undefined;
  }

  /** WBINVD ran on all cores. */
  cachesWrittenBack(): void {
    this.#cachesMayHoldGuestData = false;
  }

  /** DF_FLUSH: WBINVD_REQUIRED when a guest was deactivated and the caches were not written back since. */
  flush(): void {
    refuseUnless(!this.#cachesMayHoldGuestData, 'WBINVD_REQUIRED');
    this.#dirty = new Set();
  }
}

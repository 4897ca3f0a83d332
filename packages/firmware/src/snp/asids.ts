import type { AsidCaches } from '../processor/asids.js';
import { refuseUnless } from '../processor/command-refusal.js';
import { requireAdmission, type SnpGuestContext } from './guest-contexts.js';

/** What ACTIVATE must know besides the guests of SEV-SNP. */
export interface AsidLimits {
  /** SNP guests take ids from 1 to this one: those of SEV-ES, or with ciphertext hiding fewer. */
  readonly largest: number;
  /** Whether a guest of SEV or SEV-ES owns the id, or pages of an earlier owner still carry it. */
  isTaken(asid: number): boolean;
}

/** Address space ids of SNP guests. There is no command to give one up but DECOMMISSION. */
export class SnpAsids {
  readonly #limits: AsidLimits;
  readonly #caches: AsidCaches;
  readonly #owners = new Map<number, SnpGuestContext>();

  constructor(limits: AsidLimits, caches: AsidCaches) {
    this.#limits = limits;
    this.#caches = caches;
  }

  owner(asid: number): SnpGuestContext | undefined {
    return this.#owners.get(asid);
  }

  get count(): number {
    return this.#owners.size;
  }

  /** ACTIVATE's checks, in the firmware's order. */
  requireAvailable(asid: number, guest: SnpGuestContext): void {
    requireAdmission('SNP_ACTIVATE', guest);
    refuseUnless(asid >= 1 && asid <= this.#limits.largest, 'INVALID_ASID');
    refuseUnless(guest.asid === undefined, 'ACTIVE');
    refuseUnless(!this.#owners.has(asid) && !this.#limits.isTaken(asid), 'ASID_OWNED');
    refuseUnless(!this.#caches.isDirty(asid), 'DF_FLUSH_REQUIRED');
  }

  activate(asid: number, guest: SnpGuestContext): void {
    this.#owners.set(asid, guest);
    guest.asid = asid;
    guest.hasRun = false;
  }

  /** LAUNCH_UPDATE has encrypted under the id too, so it is dirty whether the guest ran or not. */
  deactivate(guest: SnpGuestContext): void {
    if (guest.asid === undefined) return;
    this.#caches.guestLeft(guest.asid, { dirty: true });
    this.#owners.delete(guest.asid);
    guest.asid = undefined;
  }
}

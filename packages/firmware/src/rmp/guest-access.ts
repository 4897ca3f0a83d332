import { GuestFault } from '../guest-view.js';
import type { RmpViolation } from '../mailbox.js';
import { NestedPageFault } from '../memory/nested-page-fault.js';
import { type RmpEntry, vmplPermission } from './page-state.js';

/** Who asks: a vCPU of an SNP guest. */
export interface SnpVcpu {
  readonly asid: number;
  readonly vmpl: number;
}

/**
 * The checks of a guest's access to its private memory, in their order of precedence (AMD64 APM volume 2, table 15-39).
 * The page-size check has no place here: the nested pages of this machine have the size of their entry.
 * @throws NestedPageFault unless the page is this guest's, at this guest address, and not immutable
 * @throws GuestFault when the guest has not validated it
 * @throws NestedPageFault when its privilege level may not do this
 */
export function requirePrivateAccess(
  entry: RmpEntry,
  vcpu: SnpVcpu,
  guestAddress: number,
  access: 'read' | 'write',
): void {
  const write = access === 'write';
  requireOwnPage(entry, vcpu, guestAddress, write);
  requireValidated(entry, guestAddress);
  const permissions = entry.permissions[vcpu.vmpl] ?? 0;
  // Write without read is no legal setting: no access passes it.
  const needed = write ? vmplPermission.read | vmplPermission.write : vmplPermission.read;
  if ((permissions & needed) !== needed) throw violated(guestAddress, { write, vmpl: true });
}

/** Guest-owned, reverse map and mutable: what PVALIDATE and RMPADJUST check too. */
export function requireOwnPage(entry: RmpEntry, vcpu: SnpVcpu, guestAddress: number, write = true): void {
  const page = guestAddress - (guestAddress % 4096);
  const own = entry.asid === vcpu.asid && entry.guestAddress === page && !entry.immutable;
  if (!own) throw violated(guestAddress, { write });
}

export function requireValidated(entry: RmpEntry, guestAddress: number): void {
  if (entry.validated) return;
  throw new GuestFault(
    'page-not-validated',
    `the page at guest address 0x${guestAddress.toString(16)} is not validated`,
    guestAddress,
  );
}

export function violated(guestAddress: number, violation: Partial<RmpViolation>): NestedPageFault {
  const none = { write: false, encrypted: true, sizeMismatch: false, vmpl: false };
  return new NestedPageFault(guestAddress, { ...none, ...violation });
}

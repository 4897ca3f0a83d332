import { GuestFault, type PageValidation, type PermissionAdjustment } from '../guest-view.js';
import { requireOwnPage, requireValidated, type SnpVcpu, violated } from './guest-access.js';
import { allPermissions, bytesOf, type RmpEntry, type RmpStatus, rmpStatus } from './page-state.js';
import type { ReverseMap } from './reverse-map.js';

/** A vCPU at its instruction, and where the nested page table takes its addresses. */
export interface SnpContext {
  readonly reverseMap: ReverseMap;
  readonly vcpu: SnpVcpu;
  /** @throws NestedPageFault where nothing is mapped */
  locate(guestAddress: number): number;
}

/**
 * PVALIDATE: the guest says that it takes a page, or gives it up. Only the guest can, and it learns whether that changed
 * anything: a page of its that the host has put elsewhere meanwhile is found out by that.
 * @throws NestedPageFault where the host has mapped what is not this page of the guest, or a page of 2 MiB for 4 KiB of it
 * @throws GuestFault at another privilege level than 0
 */
export function pvalidate(
  { reverseMap, vcpu, locate }: SnpContext,
  guestAddress: number,
  { size, validate }: PageValidation,
): { status: RmpStatus; changed: boolean } {
  if (vcpu.vmpl !== 0) {
    throw new GuestFault('general-protection', `PVALIDATE is for VMPL 0, this is VMPL ${vcpu.vmpl}`);
  }
  if (!isAligned(guestAddress, bytesOf(size))) return { status: rmpStatus.FAIL_INPUT, changed: false };
  const address = locate(guestAddress);
  const entry = reverseMap.entry(address);
  requireOwnPage(entry, vcpu, guestAddress);
  if (!hasSize(entry, size, guestAddress)) return { status: rmpStatus.FAIL_SIZEMISMATCH, changed: false };
  const changed = entry.validated !== validate;
  reverseMap.setValidated(address, validate);
  return { status: rmpStatus.SUCCESS, changed };
}

/**
 * RMPADJUST: what a lower privilege level may do with a page; never more than the one that asks. VMPL 0 also says with it
 * which pages are VMSAs.
 * @throws NestedPageFault as PVALIDATE does
 * @throws GuestFault for a page that is not validated
 */
export function rmpadjust(
  { reverseMap, vcpu, locate }: SnpContext,
  guestAddress: number,
  { targetVmpl, permissions, vmsa, size = '4K' }: PermissionAdjustment,
): RmpStatus {
  const setsVmsa = vcpu.vmpl === 0;
  if (!isAligned(guestAddress, bytesOf(size))) return rmpStatus.FAIL_INPUT;
  if (!isByte(targetVmpl) || targetVmpl > 3 || !isByte(permissions)) return rmpStatus.FAIL_INPUT;
  if ((permissions & ~allPermissions) !== 0) return rmpStatus.FAIL_INPUT;
  if (vmsa && setsVmsa && size !== '4K') return rmpStatus.FAIL_INPUT;
  if (targetVmpl <= vcpu.vmpl) return rmpStatus.FAIL_PERMISSION;
  const address = locate(guestAddress);
  const entry = reverseMap.entry(address);
  requireOwnPage(entry, vcpu, guestAddress);
  requireValidated(entry, guestAddress);
  if (reverseMap.isInUse(address)) return rmpStatus.FAIL_INUSE;
  if (!hasSize(entry, size, guestAddress)) return rmpStatus.FAIL_SIZEMISMATCH;
  const own = entry.permissions[vcpu.vmpl] ?? 0;
  if ((permissions & ~own) !== 0) return rmpStatus.FAIL_PERMISSION;
  reverseMap.adjust(address, targetVmpl, permissions, setsVmsa ? vmsa : entry.vmsa);
  return rmpStatus.SUCCESS;
}

/** False where the guest says 2 MiB and has 4 KiB. The other way round the host has to help (table 15-40). */
function hasSize(entry: RmpEntry, size: '4K' | '2M', guestAddress: number): boolean {
  if (size === '4K' && entry.size === '2M') throw violated(guestAddress, { write: true, sizeMismatch: true });
  return entry.size === size;
}

const isByte = (value: number) => Number.isInteger(value) && value >= 0 && value <= 0xff;
const isAligned = (address: number, length: number) =>
  Number.isSafeInteger(address) && address >= 0 && address % length === 0;

import {
  type PageState,
  pageStateOf,
  pageStates,
  pvalidateStatus,
  rmpUpdateStatus,
  vmplPermissionBits,
} from '@vouchsafe/sev';
import type { PageSize } from '../mailbox.js';

export type { PageState } from '@vouchsafe/sev';
export type { PageSize } from '../mailbox.js';

export const smallPage = 4096;
export const largePage = 512 * smallPage;

export const bytesOf = (size: PageSize) => (size === '4K' ? smallPage : largePage);

/** Permissions of VMPL 0 to 3, a byte each. */
export type VmplPermissions = readonly [number, number, number, number];

const permission = (values: Partial<Record<keyof typeof vmplPermissionBits.ranges, boolean>>) =>
  Number(vmplPermissionBits.build(values));

export const vmplPermission = {
  read: permission({ read: true }),
  write: permission({ write: true }),
} as const;

export const allPermissions = permission({
  read: true,
  write: true,
  executeUser: true,
  executeSupervisor: true,
  supervisorShadowStack: true,
});

/** What RMPUPDATE gives: everything to VMPL 0 and nothing to the others. */
export const initialPermissions: VmplPermissions = [allPermissions, 0, 0, 0];

/** An entry of the reverse map table, as the processor itself sees it. */
export interface RmpEntry {
  readonly assigned: boolean;
  readonly validated: boolean;
  readonly immutable: boolean;
  readonly vmsa: boolean;
  /** A page of 2 MiB covers 512 entries, each of which says so. */
  readonly size: PageSize;
  readonly asid: number;
  /** Of this page of 4 KiB, in bytes, also inside a page of 2 MiB. */
  readonly guestAddress: number;
  readonly permissions: VmplPermissions;
}

export const stateOf = (entry: RmpEntry): PageState => pageStateOf({ ...entry, gpa: entry.guestAddress });

export const isGuestState = (state: PageState): boolean => pageStates[state].guest;

/** What RMPUPDATE, PSMASH, PVALIDATE and RMPADJUST leave in EAX. */
export const rmpStatus = {
  ...rmpUpdateStatus,
  ...pvalidateStatus,
  /** PSMASH of what is no page of 2 MiB. */
  FAIL_BADADDR: 7,
} as const;

export type RmpStatus = (typeof rmpStatus)[keyof typeof rmpStatus];

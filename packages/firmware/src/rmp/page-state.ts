/** What the reverse map table says of a page, in the words of the firmware ABI. */

export type PageSize = '4K' | '2M';

export const smallPage = 4096;
export const largePage = 512 * smallPage;

export const bytesOf = (size: PageSize) => (size === '4K' ? smallPage : largePage);

/** Permissions of VMPL 0 to 3, a byte each (AMD64 APM volume 2, table 15-36). */
export type VmplPermissionBytes = readonly [number, number, number, number];

export const vmplPermission = {
  read: 1,
  write: 2,
  executeUser: 4,
  executeSupervisor: 8,
  supervisorShadowStack: 16,
} as const;

export const allPermissions = 0x1f;

/** What RMPUPDATE gives: everything to VMPL 0 and nothing to the others. */
export const initialPermissions: VmplPermissionBytes = [allPermissions, 0, 0, 0];

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
  readonly permissions: VmplPermissionBytes;
}

export const pageStates = [
  'Hypervisor',
  'HV-Fixed',
  'Reclaim',
  'Firmware',
  'Context',
  'Metadata',
  'Pre-Guest',
  'Pre-Swap',
  'Guest-Invalid',
  'Guest-Valid',
] as const;

export type PageState = (typeof pageStates)[number];

/** States of pages that a guest's ASID owns. */
export type GuestPageState = Extract<PageState, 'Pre-Guest' | 'Pre-Swap' | 'Guest-Invalid' | 'Guest-Valid'>;

const guestStates: Readonly<Record<GuestPageState, { validated: boolean; immutable: boolean }>> = {
  'Pre-Guest': { validated: false, immutable: true },
  'Pre-Swap': { validated: true, immutable: true },
  'Guest-Invalid': { validated: false, immutable: false },
  'Guest-Valid': { validated: true, immutable: false },
};

export function isGuestState(state: PageState): state is GuestPageState {
  return Object.hasOwn(guestStates, state);
}

export const bitsOfGuestState = (state: GuestPageState) => guestStates[state];

/** The state that an entry's bits name. Of the firmware's own pages, Context is marked as a VMSA, Metadata by an address. */
export function pageStateOf(entry: Omit<RmpEntry, 'permissions' | 'size'>): PageState {
  const { assigned, validated, immutable, asid } = entry;
  if (!assigned) return immutable ? 'HV-Fixed' : 'Hypervisor';
  if (asid === 0) {
    if (!immutable) return 'Reclaim';
    if (entry.vmsa) return 'Context';
    return entry.guestAddress > 0 ? 'Metadata' : 'Firmware';
  }
  if (immutable) return validated ? 'Pre-Swap' : 'Pre-Guest';
  return validated ? 'Guest-Valid' : 'Guest-Invalid';
}

/** What RMPUPDATE, PSMASH, PVALIDATE and RMPADJUST leave in EAX (AMD64 APM volume 3). */
export const rmpStatus = {
  SUCCESS: 0,
  FAIL_INPUT: 1,
  FAIL_PERMISSION: 2,
  FAIL_INUSE: 3,
  FAIL_OVERLAP: 4,
  FAIL_SIZEMISMATCH: 6,
  /** PSMASH of what is no page of 2 MiB. */
  FAIL_BADADDR: 7,
} as const;

export type RmpStatus = (typeof rmpStatus)[keyof typeof rmpStatus];

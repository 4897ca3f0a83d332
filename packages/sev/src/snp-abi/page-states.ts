import { bitRange, bits, flag } from '../codec/bits.js';
import { bitsField, reserved, u8 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { InvalidArgumentError } from '../errors.js';

const source =
  'AMD APM volume 2, 15.36; linux arch/x86/virt/svm/sev.c; AMDESE/sev-tool src/rmp.h (not architectural)';

interface StateBits {
  readonly assigned: boolean;
  readonly validated: boolean;
  readonly immutable: boolean;
  /** Whether the address space id is that of a guest, not 0. */
  readonly guest: boolean;
}

const row = (assigned: 0 | 1, validated: 0 | 1, immutable: 0 | 1, asid: 0 | 'n'): StateBits => ({
  assigned: assigned === 1,
  validated: validated === 1,
  immutable: immutable === 1,
  guest: asid === 'n',
});

/**
 * The states of a page in the reverse map table, by the bits of its entry: ASSIGNED, VALIDATED, IMMUTABLE, ASID. Firmware,
 * Context and Metadata have the same bits: a Context page is marked by its VMSA bit, a Metadata page by a guest address.
 */
export const pageStates = {
  Hypervisor: row(0, 0, 0, 0),
  'HV-Fixed': row(0, 0, 1, 0),
  Reclaim: row(1, 0, 0, 0),
  Firmware: row(1, 0, 1, 0),
  Context: row(1, 0, 1, 0),
  Metadata: row(1, 0, 1, 0),
  'Pre-Guest': row(1, 0, 1, 'n'),
  'Pre-Swap': row(1, 1, 1, 'n'),
  'Guest-Invalid': row(1, 0, 0, 'n'),
  'Guest-Valid': row(1, 1, 0, 'n'),
} as const satisfies Record<string, StateBits>;
export type PageState = keyof typeof pageStates;

/** What of an entry of the reverse map table tells the state of its page. */
export interface PageStateBits {
  readonly assigned: boolean;
  readonly validated: boolean;
  readonly immutable: boolean;
  readonly asid: number;
  readonly vmsa: boolean;
  /** Guest physical address. */
  readonly gpa: bigint | number;
}

/**
 * The state of a page.
 * @throws InvalidArgumentError for bits that no state has: an unassigned page that is validated or has an owner, say
 */
export function pageStateOf({ assigned, validated, immutable, asid, vmsa, gpa }: PageStateBits): PageState {
  const state = (Object.keys(pageStates) as PageState[]).find((name) => {
    const wanted = pageStates[name];
    return (
      wanted.assigned === assigned &&
      wanted.validated === validated &&
      wanted.immutable === immutable &&
      wanted.guest === (asid !== 0)
    );
  });
  if (state === undefined) {
    const bitsSet = `ASSIGNED=${Number(assigned)} VALIDATED=${Number(validated)} IMMUTABLE=${Number(immutable)} ASID=${asid}`;
    throw new InvalidArgumentError('reverse map entry', `no state of a page has ${bitsSet}`);
  }
  if (state !== 'Firmware') return state;
  if (vmsa) return 'Context';
  return BigInt(gpa) === 0n ? 'Firmware' : 'Metadata';
}

/** What a VMPL may do with a page, one byte. VMPL 0 may do everything. */
export const vmplPermissionBits = bits(
  { name: 'VMPL permissions', width: 8, source: 'AMD APM volume 2, 15.36.7', reserved: 'refuse' },
  {
    read: flag(0, 'READ', 'read it'),
    write: flag(1, 'WRITE', 'write it'),
    executeUser: flag(2, 'EXECUTE_USER', 'execute it at CPL 3'),
    executeSupervisor: flag(3, 'EXECUTE_SUPERVISOR', 'execute it at CPL 0 to 2'),
    supervisorShadowStack: flag(4, 'SUPERVISOR_SHADOW_STACK', 'use it as shadow stack of CPL 0 to 2'),
  },
);

/** One entry of the reverse map table, as Milan has it in memory. Software reads it with RMPREAD. */
export const rmpEntry = structure(
  { name: 'RMP entry', size: 16, source },
  {
    page: bitsField(
      0,
      bits(
        { name: 'RMP entry, page', width: 64, source, reserved: 'refuse' },
        {
          assigned: flag(0, 'ASSIGNED', 'the page belongs to a guest or to the firmware'),
          large: flag(1, 'PAGE_SIZE', 'the entry covers 2 MiB, not 4 KiB'),
          immutable: flag(2, 'IMMUTABLE', 'software cannot change the entry'),
          subpageCount: bitRange(3, 9, 'SUBPAGE_COUNT', 'entries of 4 KiB in use within these 2 MiB'),
          frame: bitRange(12, 39, 'GPA[50:12]', 'guest physical address, divided by 4096'),
          asid: bitRange(51, 10, 'ASID', 'address space id of the owner; 0 for none'),
          vmsa: flag(61, 'VMSA', 'the page holds the state of a vCPU'),
          validated: flag(62, 'VALIDATED', 'the guest has validated the page'),
          lock: flag(63, 'LOCK', 'a core is changing the entry'),
        },
      ),
      'whose page it is',
    ),
    vmpl0Permissions: u8(8, 'what VMPL 0 may do', { default: 0 }),
    vmpl1Permissions: u8(9, 'what VMPL 1 may do', { default: 0 }),
    vmpl2Permissions: u8(10, 'what VMPL 2 may do', { default: 0 }),
    vmpl3Permissions: u8(11, 'what VMPL 3 may do', { default: 0 }),
    reserved0c: reserved(12, 4, 'report'),
  },
);

/** What RMPUPDATE and PSMASH leave in EAX. */
export const rmpUpdateStatus = {
  SUCCESS: 0,
  FAIL_INPUT: 1,
  FAIL_PERMISSION: 2,
  /** Another core is changing the entry. */
  FAIL_INUSE: 3,
  /** A page of 4 KiB lies in one of 2 MiB, or the other way round. */
  FAIL_OVERLAP: 4,
} as const;

/** What PVALIDATE and RMPADJUST leave in EAX. PVALIDATE that changes nothing succeeds, and sets the carry flag. */
export const pvalidateStatus = {
  SUCCESS: 0,
  FAIL_INPUT: 1,
  FAIL_PERMISSION: 2,
  /** The page has another size in the reverse map table. */
  FAIL_SIZEMISMATCH: 6,
} as const;

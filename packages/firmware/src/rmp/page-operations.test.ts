import type { PageState } from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { type GuestMemory, locate, readGuest, writeGuest } from '../cpu/guest-memory.js';
import { GuestFault } from '../guest-view.js';
import type { RmpUpdate } from '../mailbox.js';
import { NestedPageFault } from '../memory/nested-page-fault.js';
import { states } from '../testing/page-states.js';
import { resetVmsa, SnpFixture } from '../testing/snp-fixture.js';
import { pvalidate, rmpadjust } from './guest-instructions.js';

/**
 * Every state of a page against everything that host and guests can do to it, from the manual alone: AMD64 APM volume 2,
 * tables 15-35, 15-39 and 15-41, and the states of the firmware ABI. The firmware's own commands are in ../snp.
 */

const page = 0x60_0000;
const guestAddress = 0x9000;
const other = { asid: 6, guestAddress: 0xb000 };

let fixture: SnpFixture;

/** The page in a state; for states of guest pages it is the fixture's guest's, for Metadata it carries the same mark. */
function inState(state: PageState): void {
  fixture.own(page, guestAddress, state);
}

beforeEach(() => {
  fixture = new SnpFixture();
});

/** What an instruction of the host answered, and the state that it left. */
type Outcome = `${number} ${PageState}`;

const update = (request: Partial<RmpUpdate>) => (): Outcome => {
  const none: RmpUpdate = { assigned: false, size: '4K', immutable: false, guestAddress: 0, asid: 0 };
  const status = fixture.reverseMap.update(page, { ...none, ...request });
  return `${status} ${fixture.reverseMap.state(page)}`;
};

const own = { assigned: true, guestAddress, asid: 5 };

const hostInstructions = {
  'RMPUPDATE to the hypervisor': update({}),
  'RMPUPDATE to the firmware': update({ assigned: true, immutable: true }),
  'RMPUPDATE to the same guest at the same address': update(own),
  'RMPUPDATE to the same guest, immutable': update({ ...own, immutable: true }),
  'RMPUPDATE to the same guest at another address': update({ ...own, guestAddress: other.guestAddress }),
  'RMPUPDATE to another guest': update({ ...own, asid: other.asid }),
  'RMPUPDATE to what Reclaim looks like': update({ assigned: true }),
  'RMPUPDATE to what HV-Fixed looks like': update({ immutable: true }),
  PSMASH: (): Outcome => {
    const status = fixture.reverseMap.smash(page);
    return `${status} ${fixture.reverseMap.state(page)}`;
  },
};

/** Of a state that no software changes. */
const immutable = (state: PageState): Record<keyof typeof hostInstructions, Outcome> => ({
  'RMPUPDATE to the hypervisor': `2 ${state}`,
  'RMPUPDATE to the firmware': `2 ${state}`,
  'RMPUPDATE to the same guest at the same address': `2 ${state}`,
  'RMPUPDATE to the same guest, immutable': `2 ${state}`,
  'RMPUPDATE to the same guest at another address': `2 ${state}`,
  'RMPUPDATE to another guest': `2 ${state}`,
  'RMPUPDATE to what Reclaim looks like': `1 ${state}`,
  'RMPUPDATE to what HV-Fixed looks like': `1 ${state}`,
  PSMASH: `7 ${state}`,
});

/** Of one that the host may change, and that is not valid. */
const mutable = (state: PageState): Record<keyof typeof hostInstructions, Outcome> => ({
  'RMPUPDATE to the hypervisor': '0 Hypervisor',
  'RMPUPDATE to the firmware': '0 Firmware',
  'RMPUPDATE to the same guest at the same address': '0 Guest-Invalid',
  'RMPUPDATE to the same guest, immutable': '0 Pre-Guest',
  'RMPUPDATE to the same guest at another address': '0 Guest-Invalid',
  'RMPUPDATE to another guest': '0 Guest-Invalid',
  'RMPUPDATE to what Reclaim looks like': `1 ${state}`,
  'RMPUPDATE to what HV-Fixed looks like': `1 ${state}`,
  PSMASH: `7 ${state}`,
});

const ofHost: Record<PageState, Record<keyof typeof hostInstructions, Outcome>> = {
  Hypervisor: mutable('Hypervisor'),
  'HV-Fixed': immutable('HV-Fixed'),
  Reclaim: mutable('Reclaim'),
  Firmware: immutable('Firmware'),
  Context: immutable('Context'),
  Metadata: immutable('Metadata'),
  'Pre-Guest': immutable('Pre-Guest'),
  'Pre-Swap': immutable('Pre-Swap'),
  'Guest-Invalid': mutable('Guest-Invalid'),
  'Guest-Valid': {
    ...mutable('Guest-Valid'),
    'RMPUPDATE to the same guest at the same address': '0 Guest-Valid',
    'RMPUPDATE to the same guest, immutable': '0 Pre-Swap',
  },
};

describe.each(states)('a page in state %s under its host', (state) => {
  it.each(Object.keys(hostInstructions) as (keyof typeof hostInstructions)[])('%s', (name) => {
    inState(state);
    expect(hostInstructions[name]()).toBe(ofHost[state][name]);
  });
});

/** What an access or an instruction of a guest came to. */
type Effect = 'done' | 'NPF' | 'NPF, VMPL' | '#VC' | '#GP' | `status ${number}` | 'unchanged' | 'invalid';

function effectOf(action: () => Effect | undefined): Effect {
  try {
    return action() ?? 'done';
  } catch (error) {
    if (error instanceof NestedPageFault) {
      expect(error.guestAddress - (error.guestAddress % 4096)).toBe(guestAddress);
      expect(error.violation).toBeDefined();
      return error.violation?.vmpl === true ? 'NPF, VMPL' : 'NPF';
    }
    if (error instanceof GuestFault) return error.fault === 'page-not-validated' ? '#VC' : '#GP';
    throw error;
  }
}

const key = () => fixture.guest.launch.memoryKey;

/** A guest that has the page mapped where it belongs. */
function mapped(snp: GuestMemory['snp'], at: number = guestAddress): GuestMemory {
  return {
    memory: fixture.memory,
    nestedPages: [{ guestAddress: at, systemAddress: page, length: 4096 }],
    trusted: undefined,
    reverseMap: fixture.reverseMap,
    snp,
  };
}

const reads = (guest: GuestMemory, secret = true, at: number = guestAddress) =>
  effectOf(() => void readGuest(guest, secret ? key() : undefined, at + 8, 16));
const writes = (guest: GuestMemory, secret = true, at: number = guestAddress) =>
  effectOf(() => void writeGuest(guest, secret ? key() : undefined, at + 8, new Uint8Array(16)));

const context = (vmpl: number, asid = 5) => {
  const vcpu = { asid, vmpl };
  const space = mapped(vcpu);
  return { reverseMap: fixture.reverseMap, vcpu, locate: (at: number) => locate(space, at) };
};
const validates = (validate: boolean, vmpl = 0, asid = 5) =>
  effectOf(() => {
    const { status, changed } = pvalidate(context(vmpl, asid), guestAddress, { size: '4K', validate });
    if (status !== 0) return `status ${status}`;
    expect(fixture.reverseMap.entry(page).validated).toBe(validate);
    return changed ? 'done' : 'unchanged';
  });
const adjusts = (vmpl: number, targetVmpl: number) =>
  effectOf(() => {
    const status = rmpadjust(context(vmpl), guestAddress, { targetVmpl, permissions: 1, vmsa: false });
    return status === 0 ? 'done' : `status ${status}`;
  });
const runs = async () => {
  const exit = await fixture.enter(page);
  return exit.reason === 'invalid' ? 'invalid' : 'done';
};

const guestOperations: Record<string, () => Effect | Promise<Effect>> = {
  'private read at VMPL 0': () => reads(mapped({ asid: 5, vmpl: 0 })),
  'private write at VMPL 0': () => writes(mapped({ asid: 5, vmpl: 0 })),
  'private read at VMPL 1, which may': () => {
    fixture.reverseMap.adjust(page, 1, 1, false);
    return reads(mapped({ asid: 5, vmpl: 1 }));
  },
  'private write at VMPL 1, which may read': () => {
    fixture.reverseMap.adjust(page, 1, 1, false);
    return writes(mapped({ asid: 5, vmpl: 1 }));
  },
  'private read at VMPL 1, which may not': () => reads(mapped({ asid: 5, vmpl: 1 })),
  'private read by another SNP guest': () => reads(mapped({ asid: 6, vmpl: 0 })),
  'private write by another SNP guest': () => writes(mapped({ asid: 6, vmpl: 0 })),
  'shared read by any guest': () => reads(mapped({ asid: 5, vmpl: 0 }), false),
  'shared write by an SNP guest': () => writes(mapped({ asid: 5, vmpl: 0 }), false),
  'read by a guest without SNP, encrypted': () => reads(mapped(undefined)),
  'write by a guest without SNP, encrypted': () => writes(mapped(undefined)),
  'write by a guest without SNP': () => writes(mapped(undefined), false),
  PVALIDATE: () => validates(true),
  'PVALIDATE at VMPL 1': () => validates(true, 1),
  'PVALIDATE by another guest': () => validates(true, 0, 6),
  'PVALIDATE that takes back': () => validates(false),
  'RMPADJUST by VMPL 0 of VMPL 1': () => adjusts(0, 1),
  'RMPADJUST by VMPL 1 of VMPL 2, more than it has': () => adjusts(1, 2),
  'RMPADJUST by VMPL 1 of VMPL 1': () => adjusts(1, 1),
  'VMRUN of it as a VMSA': runs,
};

/** Of every page that is not this guest's to use. */
const foreign: Record<string, Effect> = {
  'private read at VMPL 0': 'NPF',
  'private write at VMPL 0': 'NPF',
  'private read at VMPL 1, which may': 'NPF',
  'private write at VMPL 1, which may read': 'NPF',
  'private read at VMPL 1, which may not': 'NPF',
  'private read by another SNP guest': 'NPF',
  'private write by another SNP guest': 'NPF',
  'shared read by any guest': 'done',
  'shared write by an SNP guest': 'NPF',
  'read by a guest without SNP, encrypted': 'done',
  'write by a guest without SNP, encrypted': 'NPF',
  'write by a guest without SNP': 'NPF',
  PVALIDATE: 'NPF',
  'PVALIDATE at VMPL 1': '#GP',
  'PVALIDATE by another guest': 'NPF',
  'PVALIDATE that takes back': 'NPF',
  'RMPADJUST by VMPL 0 of VMPL 1': 'NPF',
  'RMPADJUST by VMPL 1 of VMPL 2, more than it has': 'NPF',
  'RMPADJUST by VMPL 1 of VMPL 1': 'status 2',
  'VMRUN of it as a VMSA': 'invalid',
};

const hostsOwn: Record<string, Effect> = {
  ...foreign,
  'shared write by an SNP guest': 'done',
  'write by a guest without SNP, encrypted': 'done',
  'write by a guest without SNP': 'done',
};

const ofGuests: Record<PageState, Record<string, Effect>> = {
  Hypervisor: hostsOwn,
  'HV-Fixed': hostsOwn,
  Reclaim: foreign,
  Firmware: foreign,
  Context: foreign,
  Metadata: foreign,
  'Pre-Guest': foreign,
  'Pre-Swap': foreign,
  'Guest-Invalid': {
    ...foreign,
    'private read at VMPL 0': '#VC',
    'private write at VMPL 0': '#VC',
    'private read at VMPL 1, which may': '#VC',
    'private write at VMPL 1, which may read': '#VC',
    'private read at VMPL 1, which may not': '#VC',
    PVALIDATE: 'done',
    'PVALIDATE that takes back': 'unchanged',
    'RMPADJUST by VMPL 0 of VMPL 1': '#VC',
    'RMPADJUST by VMPL 1 of VMPL 2, more than it has': '#VC',
  },
  'Guest-Valid': {
    ...foreign,
    'private read at VMPL 0': 'done',
    'private write at VMPL 0': 'done',
    'private read at VMPL 1, which may': 'done',
    'private write at VMPL 1, which may read': 'NPF, VMPL',
    'private read at VMPL 1, which may not': 'NPF, VMPL',
    PVALIDATE: 'unchanged',
    'PVALIDATE that takes back': 'done',
    'RMPADJUST by VMPL 0 of VMPL 1': 'done',
    'RMPADJUST by VMPL 1 of VMPL 2, more than it has': 'status 2',
  },
};

describe.each(states)('a page in state %s under guests', (state) => {
  it.each(Object.keys(guestOperations))('%s', async (name) => {
    inState(state);
    expect(await guestOperations[name]!()).toBe(ofGuests[state][name]);
  });

  it('at another guest address than its own is nothing that the guest can use', () => {
    inState(state);
    const elsewhere = mapped({ asid: 5, vmpl: 0 }, other.guestAddress);
    expect(() => readGuest(elsewhere, key(), other.guestAddress, 16)).toThrow(NestedPageFault);
    expect(() => writeGuest(elsewhere, key(), other.guestAddress, new Uint8Array(16))).toThrow(
      NestedPageFault,
    );
    const vcpu = { asid: 5, vmpl: 0 };
    const instruction = {
      reverseMap: fixture.reverseMap,
      vcpu,
      locate: (at: number) => locate(elsewhere, at),
    };
    const operands = { size: '4K', validate: true } as const;
    expect(() => pvalidate(instruction, other.guestAddress, operands)).toThrow(NestedPageFault);
    expect(fixture.reverseMap.state(page)).toBe(state);
  });
});

it.each<[PageState, 'runs' | 'invalid']>([
  ['Guest-Valid', 'runs'],
  ['Guest-Invalid', 'runs'],
  ['Pre-Guest', 'invalid'],
  ['Pre-Swap', 'invalid'],
  ['Context', 'invalid'],
  ['Firmware', 'invalid'],
])('a page in state %s that is marked as a VMSA: %s', async (state, expected) => {
  fixture.launchVmsa(page, resetVmsa(), guestAddress);
  fixture.own(page, guestAddress, state, { vmsa: true });
  const exit = await fixture.enter(page);
  expect(exit.reason === 'invalid' ? 'invalid' : 'runs').toBe(expected);
});

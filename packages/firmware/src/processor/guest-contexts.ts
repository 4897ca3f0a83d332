import { createHash, type Hash } from 'node:crypto';
import {
  type GuestState,
  parseGuestPolicy,
  type Secret,
  type SevCommandName,
  type TransportKeys,
} from '@vouchsafe/sev';
import { refuse, refuseUnless } from './command-refusal.js';
import { stateTable } from './commands/state-table.js';

/** What the firmware keeps of one guest. */
export interface GuestContext {
  readonly handle: number;
  /** The whole policy word. */
  readonly policy: number;
  readonly encryptedState: boolean;
  state: GuestState;
  /** The address space id that the guest owns; undefined while it is not active. */
  asid: number | undefined;
  /** Whether VMRUN entered the guest since it was activated. */
  hasRun: boolean;
  /** VEK. */
  readonly memoryKey: Secret;
  /** TEK and TIK; zeroed by LAUNCH_FINISH. */
  readonly channel: TransportKeys;
  /** Runs over everything that was launched, in the order of the commands. */
  readonly measured: Hash;
  /** Set by LAUNCH_MEASURE, 32 bytes each. */
  launchDigest: Uint8Array | undefined;
  measurement: Uint8Array | undefined;
}

/** Handles run from 1; the firmware's number of guests is its own, not the number of ASIDs. */
const largestHandle = 1024;

export class GuestContexts {
  readonly #guests = new Map<number, GuestContext>();

  get count(): number {
    return this.#guests.size;
  }

  [Symbol.iterator](): IterableIterator<GuestContext> {
    return this.#guests.values();
  }

  find(handle: number): GuestContext | undefined {
    return this.#guests.get(handle);
  }

  /** The lowest free handle; RESOURCE_LIMIT when there is none. */
  freeHandle(): number {
    for (let handle = 1; handle <= largestHandle; handle++) {
      if (!this.#guests.has(handle)) return handle;
    }
    return refuse('RESOURCE_LIMIT');
  }

  create(fields: Pick<GuestContext, 'handle' | 'policy' | 'state' | 'memoryKey' | 'channel'>): GuestContext {
    const guest: GuestContext = {
      ...fields,
      encryptedState: parseGuestPolicy(fields.policy).encryptedState,
      asid: undefined,
      hasRun: false,
      measured: createHash('sha256'),
      launchDigest: undefined,
      measurement: undefined,
    };
    this.#guests.set(guest.handle, guest);
    return guest;
  }

  remove(guest: GuestContext): void {
    closeChannel(guest);
    guest.memoryKey.zero();
    this.#guests.delete(guest.handle);
  }

  /** The guest that a command names: INVALID_GUEST for a handle that nobody has. */
  named(handle: number): GuestContext {
    return this.find(handle) ?? refuse('INVALID_GUEST');
  }

  /** The common order of checks: handle, guest state, kind of guest, ASID. */
  admit(command: SevCommandName, handle: number): GuestContext {
    const guest = this.named(handle);
    requireAdmission(command, guest);
    return guest;
  }
}

/** Guest state, kind of guest and ASID, in that order, as the state table has them for a command. */
export function requireAdmission(command: SevCommandName, guest: GuestContext): void {
  const rule = stateTable[command];
  refuseUnless(rule.guest === undefined || rule.guest.includes(guest.state), 'INVALID_GUEST_STATE');
  refuseUnless(rule.encryptedState === undefined || guest.encryptedState, 'UNSUPPORTED');
  if (rule.asid === 'owned') refuseUnless(guest.asid !== undefined, 'INACTIVE');
  if (rule.asid === 'none') refuseUnless(guest.asid === undefined, 'ACTIVE');
}

/** Wipes TEK and TIK: nobody can measure or send secrets in this launch again. */
export function closeChannel(guest: GuestContext): void {
  guest.channel.tek.zero();
  guest.channel.tik.zero();
}

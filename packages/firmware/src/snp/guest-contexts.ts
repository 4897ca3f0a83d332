import {
  emptySnpDigest,
  type Secret,
  type SnpCommandName,
  type SnpGuestPolicy,
  type SnpGuestState,
  type TcbVersion,
} from '@vouchsafe/sev';
import { refuse, refuseUnless } from '../processor/command-refusal.js';
import type { SnpGuest } from '../rmp/snp-platform.js';
import { snpStateTable } from './commands/state-table.js';

/** What the firmware keeps of one SNP guest. The host names it by the address of its Context page. */
export class SnpGuestContext implements SnpGuest {
  /** System physical address of the Context page. */
  readonly address: number;
  state: SnpGuestState = 'INIT';
  asid: number | undefined;
  hasRun = false;
  #launch: SnpLaunch | undefined;

  constructor(address: number) {
    this.address = address;
  }

  /** Undefined before LAUNCH_START. */
  get launch(): SnpLaunch | undefined {
    return this.#launch;
  }

  /** For commands that the state table admits after LAUNCH_START only. */
  get launched(): SnpLaunch {
    return this.#launch ?? refuse('INVALID_GUEST_STATE');
  }

  begin(launch: SnpLaunch): void {
    this.#launch = launch;
    this.state = 'LAUNCH';
  }
}

/** What LAUNCH_START draws, and what is learnt until LAUNCH_FINISH. */
export interface SnpLaunch {
  readonly policy: SnpGuestPolicy;
  /** The key of the guest's memory (VEK), 32 bytes. */
  readonly memoryKey: Secret;
  /** The key of pages that are swapped out (OEK), 32 bytes. */
  readonly offlineKey: Secret;
  /** VMPCK0 to VMPCK3, 32 bytes each: the guest's channel to the firmware, one key for each privilege level. */
  readonly messageKeys: readonly Secret[];
  /** Sequence number of the last message under each of those keys. */
  readonly messageCounts: bigint[];
  /** The root of derived keys that a migration agent can carry along (VMRK), 32 bytes. */
  readonly migrationRootKey: Secret;
  /** 32 bytes. */
  readonly reportId: Uint8Array;
  /** The migration agent's, 32 bytes; all ones without one. */
  readonly reportIdMa: Uint8Array;
  /** 16 bytes that the host shows to the guest in its secrets page. */
  readonly workarounds: Uint8Array;
  /** Of the guest's time stamp counter. */
  readonly tscKhz: number;
  readonly isMigrationImage: boolean;
  /** LD and IMD: 48 bytes each, zero before the first page. */
  digest: Uint8Array;
  migrationImageDigest: Uint8Array;
  identity: SnpGuestIdentity | undefined;
}

/** What LAUNCH_FINISH fixes for the life of the guest. */
export interface SnpGuestIdentity {
  /** 32 bytes. */
  readonly hostData: Uint8Array;
  /** 16 bytes each, and a number; all zero without an ID block. */
  readonly familyId: Uint8Array;
  readonly imageId: Uint8Array;
  readonly guestSvn: number;
  /** 48 bytes; zero without an ID block. */
  readonly idKeyDigest: Uint8Array;
  /** 48 bytes; zero without an author key. */
  readonly authorKeyDigest: Uint8Array;
  readonly authorKeyEnabled: boolean;
  readonly vcekDisabled: boolean;
  readonly launchTcb: TcbVersion;
  readonly launchMitigationVector: bigint;
}

export const noMigrationAgent = (): Uint8Array => new Uint8Array(32).fill(0xff);
export const emptyDigest = (): Uint8Array => emptySnpDigest.slice();

export class SnpGuests {
  readonly #guests = new Map<number, SnpGuestContext>();

  get count(): number {
    return this.#guests.size;
  }

  [Symbol.iterator](): IterableIterator<SnpGuestContext> {
    return this.#guests.values();
  }

  create(address: number): SnpGuestContext {
    const guest = new SnpGuestContext(address);
    this.#guests.set(address, guest);
    return guest;
  }

  /** Wipes the guest's keys: nobody can decrypt its memory or speak for it again. */
  remove(guest: SnpGuestContext): void {
    const { launch } = guest;
    launch?.memoryKey.zero();
    launch?.offlineKey.zero();
    launch?.migrationRootKey.zero();
    for (const key of launch?.messageKeys ?? []) key.zero();
    this.#guests.delete(guest.address);
  }

  /** The guest whose Context page this is; INVALID_GUEST where no context stands. */
  named(page: number): SnpGuestContext {
    return this.#guests.get(page) ?? refuse('INVALID_GUEST');
  }

  /** The common order of checks: Context page, guest state, ASID. */
  admit(command: SnpCommandName, page: number): SnpGuestContext {
    const guest = this.named(page);
    requireAdmission(command, guest);
    return guest;
  }
}

/** Guest state and ASID, in that order, as the state table has them for a command. */
export function requireAdmission(command: SnpCommandName, guest: SnpGuestContext): void {
  const rule = snpStateTable[command];
  refuseUnless(rule.guest === undefined || rule.guest.includes(guest.state), 'INVALID_GUEST_STATE');
  if (rule.active === true) refuseUnless(guest.asid !== undefined, 'INACTIVE');
}

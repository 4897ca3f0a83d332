import {
  type ApiVersion,
  apiAtLeast,
  type P384PrivateKey,
  type PlatformState,
  type RandomSource,
  type SevCommandName,
  type StatusName,
  sevCommandName,
  snpCommandName,
  statusCodes,
} from '@vouchsafe/sev';
import { type Chip, chipEndorsementKey } from '../identity/chip.js';
import { forgetIdentity, type PlatformIdentity } from '../identity/persistent-store.js';
import type { MemoryRange, PhysicalMemory } from '../memory/dram.js';
import type { MachineProfile } from '../profiles.js';
import type { SnpPlatform } from '../rmp/snp-platform.js';
import { runSnpCommand } from '../snp/commands/run-command.js';
import { guardedMemory } from '../snp/guarded-memory.js';
import { SnpFirmware } from '../snp/snp-firmware.js';
import { AsidCaches, AsidTable } from './asids.js';
import { CommandRefusal, refuseUnless } from './command-refusal.js';
import { commandHandlers } from './commands/command-handlers.js';
import { stateTable } from './commands/state-table.js';
import { GuestContexts } from './guest-contexts.js';
import { HostSnapshot } from './host-snapshot.js';
import type { TrustedMemory } from './trusted-memory.js';

/** Where the persistent store is: in the board's flash, or in host memory at this address (INIT_EX). */
export type StoreLocation =
  | { readonly kind: 'flash' }
  | { readonly kind: 'memory'; readonly range: MemoryRange };

/** What INIT sets up and SHUTDOWN forgets. */
export interface Session {
  readonly encryptedState: boolean;
  /** Of length 0 without SEV-ES. */
  readonly trusted: TrustedMemory;
  readonly guests: GuestContexts;
  readonly asids: AsidTable;
  identity: PlatformIdentity;
}

/** The AMD Secure Processor: takes command ids and buffers, one command at a time, and answers with status codes. */
export class Processor {
  readonly profile: MachineProfile;
  readonly chip: Chip;
  readonly random: RandomSource;
  readonly memory: PhysicalMemory;
  /** The same, as the commands of SEV and SEV-ES may write it. */
  readonly hostMemory: PhysicalMemory;
  /** Absent where the processor has no SEV-SNP. */
  readonly snpFirmware: SnpFirmware | undefined;
  readonly caches: AsidCaches;
  /** Derived from the chip's secret at boot. */
  readonly cek: P384PrivateKey;
  storeLocation: StoreLocation = { kind: 'flash' };
  #session: Session | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: { profile: MachineProfile; chip: Chip; random: RandomSource; memory: PhysicalMemory }) {
    this.profile = parts.profile;
    this.chip = parts.chip;
    this.random = parts.random;
    this.memory = parts.memory;
    this.cek = chipEndorsementKey(parts.chip);
    const { snp, capabilities } = this.profile;
    this.snpFirmware = snp && new SnpFirmware(this, snp);
    this.hostMemory = guardedMemory(this.memory, () => this.snpFirmware?.reverseMap);
    this.caches = new AsidCaches(capabilities);
  }

  get api(): ApiVersion {
    return this.profile.api;
  }

  get state(): PlatformState {
    if (this.#session === undefined) return 'UNINIT';
    return this.#session.guests.count === 0 ? 'INIT' : 'WORKING';
  }

  /** Reverse map table and guests of SEV-SNP; undefined until its first INIT. */
  get snp(): SnpPlatform | undefined {
    return this.snpFirmware?.platform;
  }

  /** What INIT set up; undefined in UNINIT. */
  get current(): Session | undefined {
    return this.#session;
  }

  /** For commands that the state table admits after INIT only. */
  get session(): Session {
    if (this.#session === undefined) throw new CommandRefusal('INVALID_PLATFORM_STATE');
    return this.#session;
  }

  /** Rings the mailbox; the status code of the reply. */
  submit(commandId: number, bufferAddress: number): Promise<number> {
    const result = this.#last.then(() => this.#run(commandId, bufferAddress));
    this.#last = result.catch(() => undefined);
    return result.then((status) => statusCodes[status]);
  }

  /** Resolves when no command is under way. */
  async idle(): Promise<void> {
    await this.#last;
  }

  begin(parts: Pick<Session, 'encryptedState' | 'identity' | 'trusted'>): void {
    const { capabilities } = this.profile;
    const isTaken = (asid: number) => this.snp?.guestOf(asid) !== undefined;
    const asids = new AsidTable(capabilities, this.caches, isTaken);
    this.#session = { ...parts, guests: new GuestContexts(), asids };
  }

  /** Drops all guests, their keys and their ASIDs, and the platform's keys. */
  end(): void {
    const session = this.#session;
    if (session === undefined) return;
    for (const guest of [...session.guests]) {
      session.asids.deactivate(guest);
      session.guests.remove(guest);
    }
    forgetIdentity(session.identity);
    this.#session = undefined;
  }

  /** Forgets everything that is not in the chip or its flash, SEV-SNP's side too. */
  powerOff(): void {
    this.end();
    this.snpFirmware?.end('no table');
  }

  async #run(commandId: number, bufferAddress: number): Promise<StatusName> {
    const name = sevCommandName(commandId);
    const snpName = snpCommandName(commandId);
    try {
      if (name !== undefined) await this.#runSevCommand(name, bufferAddress);
      else if (snpName !== undefined && this.snpFirmware !== undefined)
        await runSnpCommand(this, this.snpFirmware, snpName, bufferAddress);
      else return 'INVALID_COMMAND';
      return 'SUCCESS';
    } catch (error) {
      if (error instanceof CommandRefusal) return error.status;
      throw error;
    }
  }

  async #runSevCommand(name: SevCommandName, bufferAddress: number): Promise<void> {
    const rule = stateTable[name];
    refuseUnless(rule.since === undefined || apiAtLeast(this.profile.api, rule.since), 'INVALID_COMMAND');
    refuseUnless(rule.platform.includes(this.state), 'INVALID_PLATFORM_STATE');
    const request = new HostSnapshot(this.hostMemory, this.#session?.trusted.range, bufferAddress);
    await commandHandlers[name](this, request);
  }
}

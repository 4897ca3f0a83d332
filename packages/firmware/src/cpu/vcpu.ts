import { GuestFault, type GuestProgram, type GuestRegisters, type GuestView } from '../guest-view.js';
import type { VmExit } from '../mailbox.js';
import { NestedPageFault } from './guest-memory.js';

/** Access to the guest's memory under the mappings and the key of the present entry. */
export interface EnteredGuest {
  readPrivate(guestAddress: number, length: number): Uint8Array;
  writePrivate(guestAddress: number, bytes: Uint8Array): void;
  readShared(guestAddress: number, length: number): Uint8Array;
  writeShared(guestAddress: number, bytes: Uint8Array): void;
}

/** Exits as the guest causes them; the processor adds what the host may see of the registers. */
export type GuestExit =
  | { readonly reason: 'vmgexit'; readonly ghcbGuestAddress: number }
  | { readonly reason: 'ioio'; readonly port: number; readonly value: number }
  | { readonly reason: 'hlt' }
  | { readonly reason: 'shutdown' }
  | { readonly reason: 'npf'; readonly guestAddress: number }
  | Extract<VmExit, { reason: 'invalid' }>;

/** Lengths of the instructions that leave, by which RIP moves on: REP VMMCALL, OUT DX, HLT. */
const instructionLength = { vmgexit: 4, ioio: 1, hlt: 1, shutdown: 0, npf: 0, invalid: 0 } as const;

/**
 * One virtual CPU. The guest's program runs from the first entry; whenever it leaves, it waits until the host enters
 * it again. Host and program take turns: exactly one of them goes on at any time.
 */
export class Vcpu {
  readonly registers: GuestRegisters = { rip: 0xfff0, rsp: 0n, rax: 0n, rbx: 0n, rcx: 0n, rdx: 0n };
  readonly #program: GuestProgram | undefined;
  readonly #encryptedState: boolean;
  readonly #failed: (error: unknown) => void;
  #ended: 'hlt' | 'shutdown' | undefined;
  #gone = false;
  #entered: EnteredGuest | undefined;
  #leave: ((exit: GuestExit) => void) | undefined;
  #resume: { readonly go: () => void; readonly fail: (fault: GuestFault) => void } | undefined;

  constructor(parts: {
    program: GuestProgram | undefined;
    encryptedState: boolean;
    failed: (error: unknown) => void;
  }) {
    this.#program = parts.program;
    this.#encryptedState = parts.encryptedState;
    this.#failed = parts.failed;
  }

  get isRunning(): boolean {
    return this.#entered !== undefined;
  }

  /** Lets the guest go on until it leaves. */
  async enter(guest: EnteredGuest): Promise<GuestExit> {
    if (this.#gone) return { reason: 'invalid', detail: 'the guest was taken away while it ran' };
    if (this.#ended !== undefined) return { reason: this.#ended };
    const exit = new Promise<GuestExit>((resolve) => {
      this.#leave = resolve;
    });
    this.#entered = guest;
    if (this.#resume === undefined) void this.#run();
    else this.#resume.go();
    return exit;
  }

  /** Takes the machine away: whatever the guest does next throws, and an entry that is under way ends. */
  remove(detail: string): void {
    this.#gone = true;
    this.#entered = undefined;
    this.#resume?.fail(machineGone());
    this.#leave?.({ reason: 'invalid', detail });
  }

  /** A program that returns has halted for good; one that throws has caused a triple fault. */
  async #run(): Promise<void> {
    try {
      await this.#program?.(this.#view());
      this.#end('hlt');
    } catch (error) {
      if (this.#gone) return;
      this.#failed(error);
      this.#end('shutdown');
    }
  }

  #end(reason: 'hlt' | 'shutdown'): void {
    this.#ended = reason;
    this.#entered = undefined;
    this.#leave?.({ reason });
  }

  #exit(exit: GuestExit): Promise<void> {
    this.#requireRunning();
    this.registers.rip += instructionLength[exit.reason];
    this.#entered = undefined;
    const resumed = new Promise<void>((go, fail) => {
      this.#resume = { go, fail };
    });
    // A program that does not wait for its own exits must not bring the machine's process down.
    resumed.catch(() => undefined);
    this.#leave?.(exit);
    return resumed;
  }

  #requireRunning(): EnteredGuest {
    if (this.#gone) throw machineGone();
    if (this.#entered === undefined)
      throw new GuestFault('not-running', 'the vCPU has left and was not entered again');
    return this.#entered;
  }

  /** An access that the host must first map memory for is tried again when the host enters the guest again. */
  async #access<T>(attempt: (guest: EnteredGuest) => T): Promise<T> {
    for (;;) {
      try {
        return attempt(this.#requireRunning());
      } catch (error) {
        if (!(error instanceof NestedPageFault)) throw error;
        await this.#exit({ reason: 'npf', guestAddress: error.guestAddress });
      }
    }
  }

  #view(): GuestView {
    const only = (encrypted: boolean, instruction: string) => {
      if (this.#encryptedState === encrypted) return;
      const kind = encrypted ? 'without SEV-ES' : 'with SEV-ES';
      throw new GuestFault('not-available', `${instruction} does not leave a guest ${kind}`);
    };
    return {
      encryptedState: this.#encryptedState,
      registers: this.registers,
      readPrivate: (address, length) => this.#access((guest) => guest.readPrivate(address, length)),
      writePrivate: (address, bytes) => this.#access((guest) => guest.writePrivate(address, bytes)),
      readShared: (address, length) => this.#access((guest) => guest.readShared(address, length)),
      writeShared: (address, bytes) => this.#access((guest) => guest.writeShared(address, bytes)),
      vmgexit: async (ghcbGuestAddress) => {
        only(true, 'VMGEXIT');
        await this.#exit({ reason: 'vmgexit', ghcbGuestAddress });
      },
      out: async (port, value) => {
        only(false, 'OUT');
        await this.#exit({ reason: 'ioio', port, value });
      },
      halt: () => this.#exit({ reason: 'hlt' }),
      shutdown: () => {
        this.#requireRunning();
        this.#end('shutdown');
        return new Promise<never>(() => undefined);
      },
    };
  }
}

const machineGone = () => new GuestFault('machine-gone', 'the machine was taken away');

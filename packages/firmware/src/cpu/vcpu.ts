import {
  GuestFault,
  type GuestProgram,
  type GuestRegisters,
  type GuestView,
  type PageValidation,
  type PermissionAdjustment,
} from '../guest-view.js';
import type { SaveArea, VmExit } from '../mailbox.js';
import { NestedPageFault } from '../memory/nested-page-fault.js';

/** Access to the guest's memory under the mappings and the key of the present entry. */
export interface EnteredGuest {
  readPrivate(guestAddress: number, length: number): Uint8Array;
  writePrivate(guestAddress: number, bytes: Uint8Array): void;
  readShared(guestAddress: number, length: number): Uint8Array;
  writeShared(guestAddress: number, bytes: Uint8Array): void;
  /** What only SNP guests have. */
  readonly snp: SnpInstructions | undefined;
  /** What the host answered to the last request in the GHCB MSR. */
  readonly ghcbMsr: bigint;
}

export interface SnpInstructions {
  pvalidate(guestAddress: number, operands: PageValidation): { status: number; changed: boolean };
  rmpadjust(guestAddress: number, operands: PermissionAdjustment): number;
  place(program: GuestProgram, vmsaGuestAddress: number): void;
}

/** What sort of guest a vCPU belongs to, and at which privilege level it runs. */
export interface VcpuKind {
  readonly encryptedState: boolean;
  readonly snp: boolean;
  readonly vmpl: number;
}

/** Lengths of the instructions that leave, by which RIP moves on. */
const instructionLength = { vmgexit: 4, out: 1, hlt: 1, none: 0 } as const;

/**
 * One virtual CPU. The guest's program runs from the first entry; whenever it leaves, it waits until the host enters
 * it again. Host and program take turns: exactly one of them goes on at any time.
 */
export class Vcpu {
  readonly registers: GuestRegisters = { rip: 0xfff0, rsp: 0n, rax: 0n, rbx: 0n, rcx: 0n, rdx: 0n };
  readonly #program: GuestProgram | undefined;
  readonly #kind: VcpuKind;
  readonly #failed: (error: unknown) => void;
  #ended: (() => VmExit) | undefined;
  #gone = false;
  #entered: EnteredGuest | undefined;
  #leave: ((exit: VmExit) => void) | undefined;
  #resume: { readonly go: () => void; readonly fail: (fault: GuestFault) => void } | undefined;

  constructor(parts: {
    program: GuestProgram | undefined;
    kind: VcpuKind;
    failed: (error: unknown) => void;
  }) {
    this.#program = parts.program;
    this.#kind = parts.kind;
    this.#failed = parts.failed;
  }

  get isRunning(): boolean {
    return this.#entered !== undefined;
  }

  /** Lets the guest go on until it leaves. */
  async enter(guest: EnteredGuest): Promise<VmExit> {
    if (this.#gone) return { reason: 'invalid', detail: 'the guest was taken away while it ran' };
    if (this.#ended !== undefined) return this.#ended();
    const exit = new Promise<VmExit>((resolve) => {
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
      this.#end(() => this.#halted());
    } catch (error) {
      if (this.#gone) return;
      this.#failed(error);
      this.#end(() => ({ reason: 'shutdown' }));
    }
  }

  #end(exit: () => VmExit): void {
    this.#ended = exit;
    this.#entered = undefined;
    this.#leave?.(exit());
  }

  #halted(): VmExit {
    return this.#kind.encryptedState ? { reason: 'hlt' } : { reason: 'hlt', saveArea: this.#saveArea() };
  }

  #saveArea(): SaveArea {
    return { rip: this.registers.rip, rax: this.registers.rax };
  }

  #exit(instruction: keyof typeof instructionLength, exit: () => VmExit): Promise<void> {
    this.#requireRunning();
    this.registers.rip += instructionLength[instruction];
    this.#entered = undefined;
    const resumed = new Promise<void>((go, fail) => {
      this.#resume = { go, fail };
    });
    // A program that does not wait for its own exits must not bring the machine's process down.
    resumed.catch(() => undefined);
    this.#leave?.(exit());
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
        const { guestAddress, violation } = error;
        const why = violation === undefined ? {} : { violation };
        await this.#exit('none', () => ({ reason: 'npf', guestAddress, ...why }));
      }
    }
  }

  #view(): GuestView {
    const { encryptedState, snp, vmpl } = this.#kind;
    const only = (encrypted: boolean, instruction: string) => {
      if (encryptedState === encrypted) return;
      const kind = encrypted ? 'without SEV-ES' : 'with SEV-ES';
      throw new GuestFault('not-available', `${instruction} does not leave a guest ${kind}`);
    };
    const snpAccess = async <T>(instruction: string, attempt: (snp: SnpInstructions) => T) =>
      this.#access((guest) => {
        if (guest.snp !== undefined) return attempt(guest.snp);
        throw new GuestFault('not-available', `${instruction} is for guests with SEV-SNP`);
      });
    return {
      encryptedState,
      snp,
      vmpl,
      registers: this.registers,
      readPrivate: (address, length) => this.#access((guest) => guest.readPrivate(address, length)),
      writePrivate: (address, bytes) => this.#access((guest) => guest.writePrivate(address, bytes)),
      readShared: (address, length) => this.#access((guest) => guest.readShared(address, length)),
      writeShared: (address, bytes) => this.#access((guest) => guest.writeShared(address, bytes)),
      vmgexit: async (ghcbGuestAddress) => {
        only(true, 'VMGEXIT');
        await this.#exit('vmgexit', () => ({ reason: 'vmgexit', ghcbGuestAddress }));
      },
      msrProtocol: async (request) => {
        only(true, 'VMGEXIT');
        await this.#exit('vmgexit', () => ({ reason: 'msr-protocol', request }));
        return this.#requireRunning().ghcbMsr;
      },
      pvalidate: (address, operands) => snpAccess('PVALIDATE', (each) => each.pvalidate(address, operands)),
      rmpadjust: (address, operands) => snpAccess('RMPADJUST', (each) => each.rmpadjust(address, operands)),
      place: (program, address) => snpAccess('a VMSA of its own', (each) => each.place(program, address)),
      out: async (port, value) => {
        only(false, 'OUT');
        await this.#exit('out', () => ({ reason: 'ioio', saveArea: this.#saveArea(), port, value }));
      },
      halt: async () => this.#exit('hlt', () => this.#halted()),
      shutdown: async () => {
        this.#requireRunning();
        this.#end(() => ({ reason: 'shutdown' }));
        return new Promise<never>(() => undefined);
      },
    };
  }
}

const machineGone = () => new GuestFault('machine-gone', 'the machine was taken away');

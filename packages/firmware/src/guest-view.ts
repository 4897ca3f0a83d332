import { VouchsafeError } from '@vouchsafe/sev';
import type { PageSize } from './mailbox.js';

/**
 * The software machine as the guest inside sees it: its own memory in plain text by guest physical address, its
 * registers, and the way out to the hypervisor. This is all that `@vouchsafe/guest` may import of the machine.
 */

/** How the vCPU was entered: reset state, or the register state that the guest itself left at its last exit. */
export interface GuestRegisters {
  rip: number;
  rsp: bigint;
  rax: bigint;
  rbx: bigint;
  rcx: bigint;
  rdx: bigint;
}

/**
 * Thrown into guest code when it cannot go on: the machine was taken away, or it did what its kind of guest cannot do.
 * An access to memory that the host has not mapped, or that the reverse map table forbids, is no fault: the guest leaves
 * to the host and tries again after.
 */
export class GuestFault extends VouchsafeError {
  readonly code = 'guest-fault';
  readonly fault:
    | 'machine-gone'
    | 'not-running'
    | 'not-available'
    /** SEV-SNP, #VC with error 0x404: private memory that the guest has not validated, or that was taken from it since. */
    | 'page-not-validated'
    /** SEV-SNP, #GP: PVALIDATE at another privilege level than 0. */
    | 'general-protection';

  /** Of a page that is not validated: where. */
  readonly guestAddress: number | undefined;

  constructor(fault: GuestFault['fault'], message: string, guestAddress?: number) {
    super(message);
    this.fault = fault;
    this.guestAddress = guestAddress;
  }
}

/** The operands of PVALIDATE. */
export interface PageValidation {
  readonly size: PageSize;
  /** False takes validation back. */
  readonly validate: boolean;
}

/** The operands of RMPADJUST. */
export interface PermissionAdjustment {
  /** A privilege level below the one that asks: 1 to 3. */
  readonly targetVmpl: number;
  /** What it may do: `vmplPermissionBits` of @vouchsafe/sev. */
  readonly permissions: number;
  /** Whether the page holds the state of a vCPU; without effect but at VMPL 0. */
  readonly vmsa: boolean;
  /** 4K unless said otherwise. */
  readonly size?: PageSize;
}

/** One running vCPU. Every method works only between VMRUN and the next exit. */
export interface GuestView {
  readonly encryptedState: boolean;
  /** SEV-SNP: memory is the guest's only once it has validated it. */
  readonly snp: boolean;
  /** SEV-SNP: the privilege level of this vCPU, 0 (highest) to 3. 0 for other guests. */
  readonly vmpl: number;
  readonly registers: GuestRegisters;
  /** Reads through the guest's encryption key (C-bit set), as all memory that a guest calls its own. */
  readPrivate(guestAddress: number, length: number): Promise<Uint8Array>;
  writePrivate(guestAddress: number, bytes: Uint8Array): Promise<void>;
  /** Reads and writes with the C-bit clear: pages that the guest shares with its host. */
  readShared(guestAddress: number, length: number): Promise<Uint8Array>;
  writeShared(guestAddress: number, bytes: Uint8Array): Promise<void>;
  /** SEV-ES: leaves to the hypervisor with the GHCB page at this address; resolves when it comes back. */
  vmgexit(ghcbGuestAddress: number): Promise<void>;
  /**
   * SEV-ES: leaves to the hypervisor with a request in the GHCB MSR, without a GHCB page; resolves to its answer there
   * (GHCB specification 2.0, 2.3.1).
   */
  msrProtocol(request: bigint): Promise<bigint>;
  /**
   * SEV-SNP: PVALIDATE. `status` is that of EAX (`pvalidateStatus` of @vouchsafe/sev). Success that changes nothing
   * (carry flag) means that the page was in that state before: a guest that validates a page for the first time and is
   * told so has been given an old page at a new place.
   */
  pvalidate(
    guestAddress: number,
    operands: PageValidation,
  ): Promise<{ readonly status: number; readonly changed: boolean }>;
  /** SEV-SNP: RMPADJUST; the status of EAX (`pvalidateStatus` of @vouchsafe/sev). */
  rmpadjust(guestAddress: number, operands: PermissionAdjustment): Promise<number>;
  /**
   * SEV-SNP: says what runs when the vCPU whose VMSA is this page is entered for the next time, as the code does that
   * the registers in the page point at. Only who may write the page can; a vCPU that runs is not replaced.
   */
  place(program: GuestProgram, vmsaGuestAddress: number): Promise<void>;
  /** SEV without ES: an OUT instruction; the host sees the registers. */
  out(port: number, value: number): Promise<void>;
  /** Stops the vCPU; resolves only if the host enters it again. */
  halt(): Promise<void>;
  /** A triple fault: the guest gives up. Never resolves. */
  shutdown(): Promise<never>;
}

/** What runs inside: called at the first VMRUN of its vCPU. */
export type GuestProgram = (view: GuestView) => Promise<void>;

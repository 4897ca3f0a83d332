import { VouchsafeError } from '@vouchsafe/sev';

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
 * An access to memory that the host has not mapped is no fault: the guest leaves to the host and tries again after.
 */
export class GuestFault extends VouchsafeError {
  readonly code = 'guest-fault';
  readonly fault: 'machine-gone' | 'not-running' | 'not-available';

  constructor(fault: GuestFault['fault'], message: string) {
    super(message);
    this.fault = fault;
  }
}

/** One running vCPU. Every method works only between VMRUN and the next exit. */
export interface GuestView {
  readonly encryptedState: boolean;
  readonly registers: GuestRegisters;
  /** Reads through the guest's encryption key (C-bit set), as all memory that a guest calls its own. */
  readPrivate(guestAddress: number, length: number): Promise<Uint8Array>;
  writePrivate(guestAddress: number, bytes: Uint8Array): Promise<void>;
  /** Reads and writes with the C-bit clear: pages that the guest shares with its host. */
  readShared(guestAddress: number, length: number): Promise<Uint8Array>;
  writeShared(guestAddress: number, bytes: Uint8Array): Promise<void>;
  /** SEV-ES: leaves to the hypervisor with the GHCB page at this address; resolves when it comes back. */
  vmgexit(ghcbGuestAddress: number): Promise<void>;
  /** SEV without ES: an OUT instruction; the host sees the registers. */
  out(port: number, value: number): Promise<void>;
  /** Stops the vCPU; resolves only if the host enters it again. */
  halt(): Promise<void>;
  /** A triple fault: the guest gives up. Never resolves. */
  shutdown(): Promise<never>;
}

/** What runs inside: called at the first VMRUN of the boot vCPU. */
export type GuestProgram = (view: GuestView) => Promise<void>;

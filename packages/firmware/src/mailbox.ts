import { VouchsafeError } from '@vouchsafe/sev';

/**
 * The software machine as a host sees it: physical memory in which guests are ciphertext, the mailbox of the AMD Secure
 * Processor, and VMRUN. This is all that `@vouchsafe/host` may import of the machine.
 */

/** What the processor answers to CPUID 0x8000001F. */
export interface MemoryEncryptionCapabilities {
  /** EBX[5:0]: bit of a guest physical address that asks for encryption. */
  readonly cBitPosition: number;
  /** EBX[11:6]: physical address bits lost while memory encryption is on. */
  readonly reducedPhysBits: number;
  /** ECX: number of ASIDs; the largest valid one. */
  readonly maximumAsid: number;
  /** EDX: smallest ASID of a guest without SEV-ES; SEV-ES guests take the ones below. */
  readonly minimumSevAsid: number;
}

/** Physical memory through the host's eyes: what a guest encrypted is read as ciphertext. Addresses are in bytes. */
export interface HostMemory {
  /** Bytes of physical memory, from address 0. */
  readonly size: number;
  /** @throws InvalidArgumentError beyond the end of memory, or inside the trusted memory region after INIT */
  read(address: number, length: number): Promise<Uint8Array>;
  /**
   * All of it, or nothing.
   * @throws HostFault where a page is a guest's or the firmware's, says the reverse map table
   */
  write(address: number, bytes: Uint8Array): Promise<void>;
}

/** A page fault of the host whose error code has the RMP bit: the page is not its own (AMD64 APM volume 2, 15.36.10). */
export class HostFault extends VouchsafeError {
  readonly code = 'host-fault';
  /** System physical address of the page. */
  readonly address: number;

  constructor(address: number) {
    super(
      `the page at 0x${address.toString(16)} is not the hypervisor's: the reverse map table forbids to write it`,
      {
        hint: 'RMPUPDATE takes a page back from a guest, SNP_PAGE_RECLAIM one that is immutable',
      },
    );
    this.address = address;
  }
}

export type PageSize = '4K' | '2M';

/** An entry of the reverse map table as RMPUPDATE writes it: all that the host may say of a page. */
export interface RmpUpdate {
  readonly assigned: boolean;
  readonly size: PageSize;
  readonly immutable: boolean;
  /** Bytes; a multiple of the page's size. 0 for pages that are no guest's. */
  readonly guestAddress: number;
  /** 0 for pages that are no guest's. */
  readonly asid: number;
}

/**
 * The same as RMPREAD shows it. Whether the guest has validated the page, whether it is a VMSA and what its privilege
 * levels may do with it is not the host's to know.
 */
export type RmpRead = RmpUpdate;

/**
 * The instructions that manage the reverse map table, by system physical address. The numbers are what they leave in EAX
 * (`rmpUpdateStatus` of @vouchsafe/sev; PSMASH of what is no page of 2 MiB gives 7).
 * @throws UnavailableError before SNP_INIT
 */
export interface HostReverseMap {
  /** RMPUPDATE: gives a page to a guest or the firmware, or takes one back. */
  update(address: number, request: RmpUpdate): Promise<number>;
  /** PSMASH: makes 512 pages of 4 KiB of one of 2 MiB. */
  smash(address: number): Promise<number>;
  /**
   * RMPREAD.
   * @throws InvalidArgumentError beyond the end of memory
   */
  read(address: number): Promise<RmpRead>;
}

/** A row of the nested page table: guest physical to system physical. All three are multiples of 4096. */
export interface NestedMapping {
  readonly guestAddress: number;
  readonly systemAddress: number;
  readonly length: number;
}

/** General-purpose state of a vCPU without SEV-ES, which the host reads and writes in the VMCB. */
export interface SaveArea {
  readonly rip: number;
  readonly rax: bigint;
}

/** What the hypervisor puts into the VMCB before VMRUN. */
export interface VirtualMachineControl {
  readonly asid: number;
  readonly nestedPages: readonly NestedMapping[];
  /** SEV-ES, SEV-SNP: system physical address of the encrypted VMSA. Else absent, and `saveArea` is used. */
  readonly vmsaAddress?: number;
  readonly saveArea?: SaveArea;
  /** SEV-ES, SEV-SNP: what the guest finds in its GHCB MSR, the answer to an exit for `msr-protocol`. */
  readonly ghcbMsr?: bigint;
}

/** Bits of EXITINFO1 of a nested page fault that the reverse map table caused, besides the RMP bit. */
export interface RmpViolation {
  readonly write: boolean;
  /** ENC: the guest asked with its C-bit set. */
  readonly encrypted: boolean;
  /** SIZEM: PVALIDATE or RMPADJUST named 4 KiB of a page of 2 MiB; PSMASH helps. */
  readonly sizeMismatch: boolean;
  /** VMPL: the page does not give this privilege level what it asked for. */
  readonly vmpl: boolean;
}

/** Why the guest came back. With SEV-ES a VMGEXIT carries nothing but the address of the guest's GHCB page. */
export type VmExit =
  | { readonly reason: 'vmgexit'; readonly ghcbGuestAddress: number }
  /** A VMGEXIT whose GHCB MSR holds a request instead of an address (GHCB specification 2.0, 2.3.1). */
  | { readonly reason: 'msr-protocol'; readonly request: bigint }
  /** Without SEV-ES the host sees the registers at each exit. */
  | { readonly reason: 'ioio'; readonly saveArea: SaveArea; readonly port: number; readonly value: number }
  | { readonly reason: 'hlt'; readonly saveArea?: SaveArea }
  | { readonly reason: 'shutdown' }
  /** Nothing is mapped there, or, with a violation, what is mapped is not the guest's to use in this way. */
  | { readonly reason: 'npf'; readonly guestAddress: number; readonly violation?: RmpViolation }
  /** VMEXIT_INVALID: no usable ASID, a VMSA that its check refused, or a guest that is not running. */
  | { readonly reason: 'invalid'; readonly detail: string };

/** Everything that a hypervisor can do to the machine. */
export interface HostMachine {
  readonly capabilities: MemoryEncryptionCapabilities;
  readonly memory: HostMemory;
  readonly reverseMap: HostReverseMap;
  /**
   * Rings the mailbox: command id and the system physical address of its buffer (0 where the command has none).
   * Resolves to the status code in bits 15:0 of CmdResp. Commands run one at a time.
   */
  submit(commandId: number, bufferAddress: number): Promise<number>;
  /** WBINVD on all cores; DF_FLUSH wants it first. */
  writeBackAndInvalidate(): Promise<void>;
  /** Enters the guest and resolves at its next exit. */
  enter(control: VirtualMachineControl): Promise<VmExit>;
}

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
  write(address: number, bytes: Uint8Array): Promise<void>;
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
  /** SEV-ES: system physical address of the encrypted VMSA. Without SEV-ES: absent, and `saveArea` is used. */
  readonly vmsaAddress?: number;
  readonly saveArea?: SaveArea;
}

/** Why the guest came back. With SEV-ES a VMGEXIT carries nothing but the address of the guest's GHCB page. */
export type VmExit =
  | { readonly reason: 'vmgexit'; readonly ghcbGuestAddress: number }
  /** Without SEV-ES the host sees the registers at each exit. */
  | { readonly reason: 'ioio'; readonly saveArea: SaveArea; readonly port: number; readonly value: number }
  | { readonly reason: 'hlt'; readonly saveArea?: SaveArea }
  | { readonly reason: 'shutdown' }
  | { readonly reason: 'npf'; readonly guestAddress: number }
  /** VMEXIT_INVALID: no usable ASID, a VMSA whose integrity check failed, or a guest that is not running. */
  | { readonly reason: 'invalid'; readonly detail: string };

/** Everything that a hypervisor can do to the machine. */
export interface HostMachine {
  readonly capabilities: MemoryEncryptionCapabilities;
  readonly memory: HostMemory;
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

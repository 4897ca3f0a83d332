import { bytesField, reserved, u8, u16, u32, u64 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';

const zero = { default: 0n } as const;

/**
 * The guest-hypervisor communication block: the one page that a SEV-ES guest shares with its host for VMGEXIT. Registers
 * stand where the VMCB save area has them; a register counts only where its bit of `validBitmap` is set. The host can
 * write anything here at any time, so reserved bytes are reported and not refused.
 */
export const ghcb = structure(
  {
    name: 'GHCB',
    size: 4096,
    source: 'AMD 56421 (GHCB), layout; linux arch/x86/include/asm/svm.h, struct ghcb',
  },
  {
    reserved0x000: reserved(0x000, 0xcb, 'report'),
    cpl: u8(0x0cb, 'current privilege level', { default: 0 }),
    reserved0x0cc: reserved(0x0cc, 0x74, 'report'),
    xss: u64(0x140, 'XSS', zero),
    reserved0x148: reserved(0x148, 0x18, 'report'),
    dr7: u64(0x160, 'DR7', zero),
    reserved0x168: reserved(0x168, 0x10, 'report'),
    rip: u64(0x178, 'RIP', zero),
    reserved0x180: reserved(0x180, 0x58, 'report'),
    rsp: u64(0x1d8, 'RSP', zero),
    reserved0x1e0: reserved(0x1e0, 0x18, 'report'),
    rax: u64(0x1f8, 'RAX', zero),
    reserved0x200: reserved(0x200, 0x108, 'report'),
    rcx: u64(0x308, 'RCX', zero),
    rdx: u64(0x310, 'RDX', zero),
    rbx: u64(0x318, 'RBX', zero),
    reserved0x320: reserved(0x320, 0x08, 'report'),
    rbp: u64(0x328, 'RBP', zero),
    rsi: u64(0x330, 'RSI', zero),
    rdi: u64(0x338, 'RDI', zero),
    r8: u64(0x340, 'R8', zero),
    r9: u64(0x348, 'R9', zero),
    r10: u64(0x350, 'R10', zero),
    r11: u64(0x358, 'R11', zero),
    r12: u64(0x360, 'R12', zero),
    r13: u64(0x368, 'R13', zero),
    r14: u64(0x370, 'R14', zero),
    r15: u64(0x378, 'R15', zero),
    reserved0x380: reserved(0x380, 0x10, 'report'),
    exitCode: u64(0x390, 'SW_EXITCODE: why the guest leaves, as an exit code of the VMCB', zero),
    exitInfo1: u64(0x398, 'SW_EXITINFO1: first argument of the exit; set by the host to its answer', zero),
    exitInfo2: u64(0x3a0, 'SW_EXITINFO2: second argument of the exit; set by the host to its answer', zero),
    scratch: u64(0x3a8, 'SW_SCRATCH: guest address of a longer buffer', zero),
    reserved0x3b0: reserved(0x3b0, 0x38, 'report'),
    xcr0: u64(0x3e8, 'XCR0', zero),
    validBitmap: bytesField(0x3f0, 16, 'bit n: the eight bytes at offset 8n hold a value', {
      default: new Uint8Array(16),
    }),
    x87StateAddress: u64(0x400, 'guest address of the x87 state', zero),
    reserved0x408: reserved(0x408, 0x3f8, 'report'),
    sharedBuffer: bytesField(0x800, 2032, 'buffer for string I/O and MMIO', {
      default: new Uint8Array(2032),
    }),
    reserved0xff0: reserved(0xff0, 0x0a, 'report'),
    protocolVersion: u16(0xffa, 'version of the protocol that guest and host agreed on', { default: 1 }),
    usage: u32(0xffc, 'meaning of this page: 0 for the layout described here', { default: 0 }),
  },
);

/** Registers that a GHCB can carry. */
export type GhcbRegister =
  | `r${'ax' | 'bx' | 'cx' | 'dx' | 'si' | 'di' | 'bp' | 'sp' | 'ip' | '8' | '9' | '10' | '11' | '12' | '13' | '14' | '15'}`
  | 'exitCode'
  | 'exitInfo1'
  | 'exitInfo2'
  | 'scratch'
  | 'xcr0';

/** The `validBitmap` that declares the given registers, and no others, as set. */
export function ghcbValidBitmap(registers: readonly GhcbRegister[]): Uint8Array {
  const bitmap = new Uint8Array(16);
  for (const register of registers) {
    const bit = ghcb.offsetOf(register) / 8;
    bitmap[bit >> 3]! |= 1 << (bit & 7);
  }
  return bitmap;
}

/** Whether the block declares the register as set: reading one that is not would take the other side's leftovers. */
export function isGhcbRegisterValid(
  block: { readonly validBitmap: Uint8Array },
  register: GhcbRegister,
): boolean {
  const bit = ghcb.offsetOf(register) / 8;
  return (block.validBitmap[bit >> 3]! & (1 << (bit & 7))) !== 0;
}

/** SW_EXITCODE values that this project uses (AMD APM volume 2, appendix C; linux uapi/asm/svm.h). */
export const ghcbExitCodes = {
  CPUID: 0x72n,
  HLT: 0x78n,
  IOIO: 0x7bn,
  MSR: 0x7cn,
  SHUTDOWN: 0x7fn,
  MMIO_READ: 0x8000_0001n,
  MMIO_WRITE: 0x8000_0002n,
  PAGE_STATE_CHANGE: 0x8000_0010n,
  GUEST_REQUEST: 0x8000_0011n,
  EXT_GUEST_REQUEST: 0x8000_0012n,
  AP_CREATION: 0x8000_0013n,
  HYPERVISOR_FEATURES: 0x8000_fffdn,
  TERMINATE: 0x8000_fffen,
} as const;

/**
 * The host's half of the answer to GUEST_REQUEST and EXT_GUEST_REQUEST: the high 32 bits of SW_EXITINFO2. The low 32 bits
 * are the status of the firmware.
 */
export const snpGuestRequestErrors = {
  /** The certificate table does not fit: RBX is the number of pages it needs, and the firmware was not called. */
  CERTIFICATE_BUFFER: 1,
  /** The host is busy: send the same message again. */
  BUSY: 2,
  GENERIC: 3,
} as const;

/** SW_EXITINFO2 of an answered guest request. */
export interface SnpGuestRequestResult {
  /** Status of the firmware, 32 bits; 0 success. */
  readonly firmwareError: number;
  /** Error of the host, 32 bits: 0 none, or one of {@link snpGuestRequestErrors}. */
  readonly vmmError: number;
}

export function snpGuestRequestResult(exitInfo2: bigint): SnpGuestRequestResult {
  return {
    firmwareError: Number(BigInt.asUintN(32, exitInfo2)),
    vmmError: Number(BigInt.asUintN(32, exitInfo2 >> 32n)),
  };
}

/** The SW_EXITINFO2 of a result. */
export function snpGuestRequestExitInfo2({ firmwareError, vmmError }: SnpGuestRequestResult): bigint {
  return (BigInt(vmmError) << 32n) | BigInt(firmwareError);
}

/** What AP_CREATION asks, in the low 32 bits of SW_EXITINFO1; bits 19:16 of which are the VMPL, 63:32 the APIC id. */
export const apCreationRequests = { CREATE_ON_INIT: 0, CREATE: 1, DESTROY: 2 } as const;

import { bytesField, nested, reserved, u8, u16, u32, u64 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { InvalidArgumentError } from '../errors.js';
import { type VmmType, type VmsaFpu, vmmProfileOf } from './vmm-types.js';

const source =
  'AMD64 Architecture Programmer’s Manual volume 2, table B-4; linux arch/x86/include/asm/svm.h, sev_es_save_area';

/** A segment register with its hidden part. */
export const vmsaSegment = structure(
  { name: 'segment', size: 16, source },
  {
    selector: u16(0, 'selector'),
    attrib: u16(2, 'attributes'),
    limit: u32(4, 'limit'),
    base: u64(8, 'base'),
  },
);

export interface VmsaSegment {
  readonly selector: number;
  readonly attrib: number;
  readonly limit: number;
  readonly base: bigint;
}

const noSegment: VmsaSegment = { selector: 0, attrib: 0, limit: 0, base: 0n };
const segment = (offset: number, meaning: string) =>
  nested(offset, vmsaSegment, meaning, { default: noSegment });
const register = (offset: number, meaning: string) => u64(offset, meaning, { default: 0n });
const dword = (offset: number, meaning: string) => u32(offset, meaning, { default: 0 });
const word = (offset: number, meaning: string) => u16(offset, meaning, { default: 0 });
const byte = (offset: number, meaning: string) => u8(offset, meaning, { default: 0 });
const block = (offset: number, size: number, meaning: string) =>
  bytesField(offset, size, meaning, { default: new Uint8Array(size) });

/**
 * The VM save area of SEV-ES and SEV-SNP: one encrypted page that holds a vCPU's whole state while it does not run. Its
 * first contents are measured. Newer processors use ranges that are reserved here, so those are reported, not refused.
 */
export const vmsa = structure(
  { name: 'VMSA', size: 4096, source },
  {
    es: segment(0x000, 'ES'),
    cs: segment(0x010, 'CS'),
    ss: segment(0x020, 'SS'),
    ds: segment(0x030, 'DS'),
    fs: segment(0x040, 'FS'),
    gs: segment(0x050, 'GS'),
    gdtr: segment(0x060, 'GDTR'),
    ldtr: segment(0x070, 'LDTR'),
    idtr: segment(0x080, 'IDTR'),
    tr: segment(0x090, 'TR'),
    vmpl0Ssp: register(0x0a0, 'shadow stack pointer of VMPL 0'),
    vmpl1Ssp: register(0x0a8, 'shadow stack pointer of VMPL 1'),
    vmpl2Ssp: register(0x0b0, 'shadow stack pointer of VMPL 2'),
    vmpl3Ssp: register(0x0b8, 'shadow stack pointer of VMPL 3'),
    uCet: register(0x0c0, 'U_CET'),
    reservedC8: reserved(0x0c8, 2, 'report'),
    vmpl: byte(0x0ca, 'VM privilege level of this vCPU (SEV-SNP)'),
    cpl: byte(0x0cb, 'current privilege level'),
    reservedCc: reserved(0x0cc, 4, 'report'),
    efer: register(0x0d0, 'EFER'),
    reservedD8: reserved(0x0d8, 104, 'report'),
    xss: register(0x140, 'XSS'),
    cr4: register(0x148, 'CR4'),
    cr3: register(0x150, 'CR3'),
    cr0: register(0x158, 'CR0'),
    dr7: register(0x160, 'DR7'),
    dr6: register(0x168, 'DR6'),
    rflags: register(0x170, 'RFLAGS'),
    rip: register(0x178, 'RIP'),
    dr0: register(0x180, 'DR0'),
    dr1: register(0x188, 'DR1'),
    dr2: register(0x190, 'DR2'),
    dr3: register(0x198, 'DR3'),
    dr0AddressMask: register(0x1a0, 'address mask of DR0'),
    dr1AddressMask: register(0x1a8, 'address mask of DR1'),
    dr2AddressMask: register(0x1b0, 'address mask of DR2'),
    dr3AddressMask: register(0x1b8, 'address mask of DR3'),
    reserved1c0: reserved(0x1c0, 24, 'report'),
    rsp: register(0x1d8, 'RSP'),
    sCet: register(0x1e0, 'S_CET'),
    ssp: register(0x1e8, 'SSP'),
    isstAddress: register(0x1f0, 'ISST_ADDR'),
    rax: register(0x1f8, 'RAX'),
    star: register(0x200, 'STAR'),
    lstar: register(0x208, 'LSTAR'),
    cstar: register(0x210, 'CSTAR'),
    sfmask: register(0x218, 'SFMASK'),
    kernelGsBase: register(0x220, 'KERNEL_GS_BASE'),
    sysenterCs: register(0x228, 'SYSENTER_CS'),
    sysenterEsp: register(0x230, 'SYSENTER_ESP'),
    sysenterEip: register(0x238, 'SYSENTER_EIP'),
    cr2: register(0x240, 'CR2'),
    reserved248: reserved(0x248, 32, 'report'),
    gPat: register(0x268, 'G_PAT'),
    dbgctl: register(0x270, 'DBGCTL'),
    brFrom: register(0x278, 'BR_FROM'),
    brTo: register(0x280, 'BR_TO'),
    lastExcpFrom: register(0x288, 'LASTEXCPFROM'),
    lastExcpTo: register(0x290, 'LASTEXCPTO'),
    reserved298: reserved(0x298, 80, 'report'),
    pkru: dword(0x2e8, 'PKRU'),
    tscAux: dword(0x2ec, 'TSC_AUX'),
    reserved2f0: reserved(0x2f0, 24, 'report'),
    rcx: register(0x308, 'RCX'),
    rdx: register(0x310, 'RDX'),
    rbx: register(0x318, 'RBX'),
    reserved320: reserved(0x320, 8, 'report'),
    rbp: register(0x328, 'RBP'),
    rsi: register(0x330, 'RSI'),
    rdi: register(0x338, 'RDI'),
    r8: register(0x340, 'R8'),
    r9: register(0x348, 'R9'),
    r10: register(0x350, 'R10'),
    r11: register(0x358, 'R11'),
    r12: register(0x360, 'R12'),
    r13: register(0x368, 'R13'),
    r14: register(0x370, 'R14'),
    r15: register(0x378, 'R15'),
    integrityTag: register(0x380, 'zero at launch; the firmware of SEV-ES keeps it for the integrity check'),
    integrityAddress: register(0x388, 'where the firmware of SEV-ES keeps the integrity value of this page'),
    guestExitInfo1: register(0x390, 'GUEST_EXITINFO1'),
    guestExitInfo2: register(0x398, 'GUEST_EXITINFO2'),
    guestExitIntInfo: register(0x3a0, 'GUEST_EXITINTINFO'),
    guestNrip: register(0x3a8, 'GUEST_NRIP'),
    sevFeatures: register(0x3b0, 'SEV_FEATURES: what the guest has switched on; 0 for plain SEV-ES'),
    vintrCtrl: register(0x3b8, 'VINTR_CTRL'),
    guestExitCode: register(0x3c0, 'GUEST_EXITCODE'),
    virtualTom: register(0x3c8, 'VIRTUAL_TOM'),
    tlbId: register(0x3d0, 'TLB_ID'),
    pcpuId: register(0x3d8, 'PCPU_ID'),
    eventInj: register(0x3e0, 'EVENTINJ'),
    xcr0: register(0x3e8, 'XCR0'),
    reserved3f0: reserved(0x3f0, 16, 'report'),
    x87Dp: register(0x400, 'X87_DP'),
    mxcsr: dword(0x408, 'MXCSR'),
    x87Ftw: word(0x40c, 'X87_FTW'),
    x87Fsw: word(0x40e, 'X87_FSW'),
    x87Fcw: word(0x410, 'X87_FCW'),
    x87Fop: word(0x412, 'X87_FOP'),
    x87Ds: word(0x414, 'X87_DS'),
    x87Cs: word(0x416, 'X87_CS'),
    x87Rip: register(0x418, 'X87_RIP'),
    fpregX87: block(0x420, 80, 'x87 registers'),
    fpregXmm: block(0x470, 256, 'XMM registers'),
    fpregYmm: block(0x570, 256, 'upper halves of the YMM registers'),
    reserved670: reserved(0x670, 0x990, 'report'),
  },
);

export interface ResetVmsaOptions {
  /** CPUID function 1, EAX. Under QEMU a vCPU starts with it in RDX; other VMMs do not need it. */
  readonly vcpuSignature?: number | undefined;
  /** The boot CPU begins at the reset vector, the application CPUs where the firmware's footer says. */
  readonly cpu: 'boot' | 'application';
  /** From the firmware's SEV-ES reset block. Needed for application CPUs. */
  readonly resetAddress?: number | undefined;
  /** Who launches; QEMU unless said otherwise. */
  readonly vmmType?: VmmType | undefined;
  /** As is usual for the VMM unless said otherwise. */
  readonly fpu?: VmsaFpu | undefined;
  /** SEV_FEATURES; 0 for SEV-ES. */
  readonly sevFeatures?: bigint | undefined;
}

const bootAddress = 0xfffffff0;

/** What every VMM and every first program starts with. */
export const commonReset = {
  gdtr: { ...noSegment, limit: 0xffff },
  idtr: { ...noSegment, limit: 0xffff },
  ldtr: { ...noSegment, attrib: 0x82, limit: 0xffff },
  efer: 0x1000n,
  cr4: 0x40n,
  dr7: 0x400n,
  dr6: 0xffff0ff0n,
  rflags: 2n,
  xcr0: 1n,
} as const;

/**
 * The VMSA of a vCPU at reset as QEMU with KVM, or another VMM, makes it, 4096 bytes.
 * @throws InvalidArgumentError for an application CPU without a reset address, no signature where it is measured, an
 * unknown VMM type, or a number that is too large
 */
export function buildResetVmsa(options: ResetVmsaOptions): Uint8Array {
  const { cpu, vmmType = 'QEMU', sevFeatures = 0n } = options;
  const { attributes, gPat, rdx, ...profile } = vmmProfileOf(vmmType);
  const { fpu = profile.fpu } = options;
  const address = startAddress(options);
  const data = { selector: 0, attrib: 0x93, limit: 0xffff, base: 0n };
  return vmsa.build({
    ...commonReset,
    es: data,
    cs: {
      selector: 0xf000,
      attrib: cpu === 'boot' ? attributes.bootCs : attributes.applicationCs,
      limit: 0xffff,
      base: BigInt((address & 0xffff0000) >>> 0),
    },
    ss: { ...data, attrib: attributes.ss },
    ds: data,
    fs: data,
    gs: data,
    tr: { ...data, attrib: attributes.tr },
    cr0: 0x10n,
    rip: BigInt(address & 0xffff),
    gPat,
    rdx: BigInt(rdx === 'signature' ? requireSignature(options) : rdx),
    sevFeatures,
    mxcsr: fpu === 'set' ? 0x1f80 : 0,
    x87Fcw: fpu === 'set' ? 0x37f : 0,
  });
}

function requireSignature({ vcpuSignature }: ResetVmsaOptions): number {
  if (vcpuSignature === undefined) {
    throw new InvalidArgumentError('vCPU signature', 'the digest of this guest depends on it', {
      hint: 'name the vCPU type, its signature, or family, model and stepping',
    });
  }
  if (!Number.isInteger(vcpuSignature) || vcpuSignature < 0 || vcpuSignature > 0xffff_ffff) {
    throw new InvalidArgumentError('vCPU signature', 'expected an unsigned number of 32 bits');
  }
  return vcpuSignature;
}

function startAddress({ cpu, resetAddress = 0 }: ResetVmsaOptions): number {
  if (cpu === 'boot') return bootAddress;
  if (!Number.isInteger(resetAddress) || resetAddress <= 0 || resetAddress > 0xffffffff) {
    throw new InvalidArgumentError(
      'reset address',
      `application CPUs need one of 32 bits, found ${resetAddress || 'none'}`,
    );
  }
  return resetAddress;
}

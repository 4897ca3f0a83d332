import { bitRange, bits, flag } from '../codec/bits.js';
import { bitsField, bytesField, named, reserved, u8, u32, u64 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';

/**
 * Command buffers of the SEV-SNP commands on guests. Packed and little-endian; addresses are system physical. A guest is
 * named by the address of its context page (GCTX).
 */

const source = 'SEV-SNP firmware ABI (AMD 56860); linux include/linux/psp-sev.h';
const gctx = () => u64(0x00, 'context page of the guest');

/** States of a guest (GSTATE): made by GCTX_CREATE, then LAUNCH_START, then LAUNCH_FINISH or an import. */
export const snpGuestStates = { INIT: 0, LAUNCH: 1, RUNNING: 2 } as const;
export type SnpGuestState = keyof typeof snpGuestStates;

/** Buffer of SNP_GCTX_CREATE and SNP_DECOMMISSION. */
export const snpGctxBuffer = structure({ name: 'SNP_GCTX', size: 8, source }, { gctxAddress: gctx() });

export const snpActivateBuffer = structure(
  { name: 'SNP_ACTIVATE', size: 16, source },
  {
    gctxAddress: gctx(),
    asid: u32(0x08, 'address space id that the guest gets'),
    reserved0c: reserved(0x0c, 4),
  },
);

export const snpActivateExBuffer = structure(
  { name: 'SNP_ACTIVATE_EX', size: 0x20, source },
  {
    length: u32(0x00, 'length of this buffer', { default: 0x20, unit: 'bytes' }),
    reserved04: reserved(0x04, 4),
    gctxAddress: u64(0x08, 'context page of the guest'),
    asid: u32(0x10, 'address space id that the guest gets'),
    idCount: u32(0x14, 'number of APIC ids in the list', { default: 0, unit: 'ids' }),
    idListAddress: u64(0x18, 'list of u32 APIC ids whose core complexes may run the guest', { default: 0n }),
  },
);

export const snpGuestStatusBuffer = structure(
  { name: 'SNP_GUEST_STATUS command', size: 16, source },
  { gctxAddress: gctx(), statusAddress: u64(0x08, 'where the status goes: 32 bytes in a Firmware page') },
);

/** What SNP_GUEST_STATUS gives, 32 bytes. */
export const snpGuestStatus = structure(
  { name: 'SNP_GUEST_STATUS', size: 32, source: 'SEV-SNP firmware ABI; AMDESE/sev-tool src/sevapi.h' },
  {
    policy: u64(0x00, 'guest policy'),
    asid: u32(0x08, 'address space id, 0 for none'),
    state: named(0x0c, 1, snpGuestStates, 'state of the guest'),
    reserved0d: reserved(0x0d, 19, 'report'),
  },
);

export const snpLaunchStartBuffer = structure(
  { name: 'SNP_LAUNCH_START', size: 0x30, source },
  {
    gctxAddress: gctx(),
    policy: u64(0x08, 'guest policy'),
    migrationAgentAddress: u64(0x10, 'context page of the migration agent, where MA_EN is set', {
      default: 0n,
    }),
    flags: bitsField(
      0x18,
      bits(
        { name: 'SNP_LAUNCH_START.flags', width: 32, source, reserved: 'refuse' },
        {
          migrationAgent: flag(0, 'MA_EN', 'the guest is bound to a migration agent'),
          initialMigrationImage: flag(1, 'IMI_EN', 'the launch is of an initial migration image'),
        },
      ),
      'how the guest will migrate',
      { default: { migrationAgent: false, initialMigrationImage: false } },
    ),
    desiredTscFrequency: u32(0x1c, 'frequency of the guest’s time stamp counter; 0 for the host’s', {
      default: 0,
      unit: 'kHz',
    }),
    gosvw: bytesField(0x20, 16, 'visible workarounds, handed to the guest in its secrets page', {
      default: new Uint8Array(16),
    }),
  },
);

export const snpLaunchUpdateBuffer = structure(
  { name: 'SNP_LAUNCH_UPDATE', size: 0x20, source },
  {
    gctxAddress: gctx(),
    page: bitsField(
      0x08,
      bits(
        { name: 'SNP_LAUNCH_UPDATE.page', width: 32, source, reserved: 'refuse' },
        {
          large: flag(0, 'PAGE_SIZE', 'the page has 2 MiB, not 4 KiB'),
          type: bitRange(1, 3, 'PAGE_TYPE', '1 NORMAL, 2 VMSA, 3 ZERO, 4 UNMEASURED, 5 SECRETS, 6 CPUID'),
          imiPage: flag(4, 'IMI_PAGE', 'the page belongs to an initial migration image'),
        },
      ),
      'how the page enters the guest',
    ),
    reserved0c: reserved(0x0c, 4),
    pageAddress: u64(0x10, 'the page'),
    reserved18: reserved(0x18, 1),
    vmpl1Permissions: u8(0x19, 'what VMPL 1 may do with the page', { default: 0 }),
    vmpl2Permissions: u8(0x1a, 'what VMPL 2 may do with the page', { default: 0 }),
    vmpl3Permissions: u8(0x1b, 'what VMPL 3 may do with the page', { default: 0 }),
    reserved1c: reserved(0x1c, 4),
  },
);

export const snpLaunchFinishBuffer = structure(
  { name: 'SNP_LAUNCH_FINISH', size: 0x40, source },
  {
    gctxAddress: gctx(),
    idBlockAddress: u64(0x08, 'ID block, 96 bytes, where ID_BLOCK_EN is set', { default: 0n }),
    idAuthAddress: u64(0x10, 'ID authentication information, 4096 bytes, where ID_BLOCK_EN is set', {
      default: 0n,
    }),
    flags: bitsField(
      0x18,
      bits(
        { name: 'SNP_LAUNCH_FINISH.flags', width: 32, source, reserved: 'refuse' },
        {
          idBlock: flag(0, 'ID_BLOCK_EN', 'there is an ID block'),
          authorKey: flag(1, 'AUTH_KEY_EN', 'the ID key is signed by an author key'),
          vcekDisabled: flag(2, 'VCEK_DIS', 'the chip’s own key neither signs reports nor derives keys'),
        },
      ),
      'who the guest is',
      { default: { idBlock: false, authorKey: false, vcekDisabled: false } },
    ),
    reserved1c: reserved(0x1c, 4),
    hostData: bytesField(0x20, 32, 'for the host to say in reports', { default: new Uint8Array(32) }),
  },
);

export const snpGuestRequestBuffer = structure(
  { name: 'SNP_GUEST_REQUEST', size: 0x18, source },
  {
    gctxAddress: gctx(),
    requestAddress: u64(0x08, 'the encrypted request, one page'),
    responseAddress: u64(0x10, 'where the encrypted response goes: one Firmware page'),
  },
);

/** Buffer of SNP_DBG_DECRYPT and SNP_DBG_ENCRYPT. */
export const snpDbgBuffer = structure(
  { name: 'SNP_DBG', size: 0x18, source },
  {
    gctxAddress: gctx(),
    sourceAddress: u64(0x08, 'from this page'),
    destinationAddress: u64(0x10, 'to this page'),
  },
);

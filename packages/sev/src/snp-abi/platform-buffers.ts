import { bits, flag } from '../codec/bits.js';
import { bitsField, bytesField, named, reserved, u8, u16, u32, u64 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { platformStates } from '../legacy/platform-status.js';

/**
 * Command buffers of the SEV-SNP commands that manage the platform, and what those commands write back. Packed and
 * little-endian; addresses are system physical. SNP_INIT, SNP_SHUTDOWN and SNP_DF_FLUSH have no buffer.
 */

const source = 'SEV-SNP firmware ABI (AMD 56860); linux include/linux/psp-sev.h';
const lengthOf = (size: number) => u32(0, 'length of this buffer', { default: size, unit: 'bytes' });

export const snpInitExBuffer = structure(
  { name: 'SNP_INIT_EX', size: 64, source },
  {
    flags: bitsField(
      0x00,
      bits(
        { name: 'SNP_INIT_EX.flags', width: 32, source, reserved: 'refuse' },
        {
          initRmp: flag(0, 'INIT_RMP', 'the reverse map table is made anew: all memory is the host’s'),
          listEnabled: flag(1, 'LIST_PADDR_EN', 'the listed ranges stay the host’s until a reset (HV-Fixed)'),
          raplDisabled: flag(2, 'RAPL_DIS', 'power measurement (RAPL) is switched off'),
          ciphertextHiding: flag(3, 'CIPHERTEXT_HIDING_EN', 'ciphertext in memory is hidden from the host'),
          tio: flag(4, 'TIO_EN', 'devices can be trusted by guests (SEV-TIO)'),
        },
      ),
      'what to switch on',
      {
        default: {
          initRmp: true,
          listEnabled: false,
          raplDisabled: false,
          ciphertextHiding: false,
          tio: false,
        },
      },
    ),
    reserved04: reserved(0x04, 4),
    listAddress: u64(0x08, 'range list, where LIST_PADDR_EN is set', { default: 0n }),
    maxSnpAsid: u16(0x10, 'largest address space id of SNP guests, with ciphertext hiding', { default: 0 }),
    reserved12: reserved(0x12, 46),
  },
);

/** First bytes of the range list of SNP_INIT_EX; `count` entries follow. */
export const snpRangeListHeader = structure(
  { name: 'RANGE_LIST', size: 8, source },
  { count: u32(0, 'entries that follow', { unit: 'entries' }), reserved: reserved(4, 4) },
);

/** One entry of a range list. */
export const snpRangeListEntry = structure(
  { name: 'RANGE', size: 16, source },
  {
    base: u64(0, 'address of the first page'),
    pageCount: u32(8, 'how many pages of 4 KiB', { unit: 'pages' }),
    reserved: reserved(12, 4),
  },
);

export const snpShutdownExBuffer = structure(
  { name: 'SNP_SHUTDOWN_EX', size: 8, source },
  {
    length: lengthOf(8),
    flags: bitsField(
      4,
      bits(
        { name: 'SNP_SHUTDOWN_EX.flags', width: 32, source, reserved: 'refuse' },
        {
          iommu: flag(0, 'IOMMU_SNP_SHUTDOWN', 'the IOMMU leaves SNP, too; all pages but HV-Fixed go back'),
          x86: flag(1, 'X86_SNP_SHUTDOWN', 'the cores leave SNP, too'),
        },
      ),
      'what else to shut down',
      { default: { iommu: false, x86: false } },
    ),
  },
);

export const snpPlatformStatusBuffer = structure(
  { name: 'SNP_PLATFORM_STATUS command', size: 8, source },
  { statusAddress: u64(0, 'where the status goes: 32 bytes in a Firmware page, once SNP is initialised') },
);

/** What SNP_PLATFORM_STATUS gives, 32 bytes. */
export const snpPlatformStatus = structure(
  { name: 'SNP_PLATFORM_STATUS', size: 32, source },
  {
    apiMajor: u8(0x00, 'major version of the firmware ABI'),
    apiMinor: u8(0x01, 'minor version of the firmware ABI'),
    state: named(0x02, 1, { UNINIT: platformStates.UNINIT, INIT: platformStates.INIT }, 'state of SNP'),
    memory: bitsField(
      0x03,
      bits(
        { name: 'SNP_PLATFORM_STATUS.memory', width: 8, source, reserved: 'report' },
        {
          rmpInitialized: flag(0, 'IS_RMP_INIT', 'the reverse map table was made'),
          aliasCheckComplete: flag(
            1,
            'ALIAS_CHECK_COMPLETE',
            'no two addresses were found to name the same memory',
          ),
          tioEnabled: flag(3, 'IS_TIO_EN', 'devices can be trusted by guests (SEV-TIO)'),
        },
      ),
      'state of the reverse map table',
    ),
    build: u32(0x04, 'build of the firmware'),
    features: bitsField(
      0x08,
      bits(
        { name: 'SNP_PLATFORM_STATUS.features', width: 32, source, reserved: 'report' },
        {
          maskChipId: flag(0, 'MASK_CHIP_ID', 'reports do not name the chip'),
          maskChipKey: flag(1, 'MASK_CHIP_KEY', 'the chip’s own key does not sign reports'),
          vlekLoaded: flag(2, 'VLEK_EN', 'a VLEK is loaded'),
          featureInfo: flag(3, 'FEATURE_INFO', 'SNP_FEATURE_INFO exists'),
          raplDisabled: flag(4, 'RAPL_DIS', 'power measurement (RAPL) is off'),
          ciphertextHidingCapable: flag(5, 'CIPHERTEXT_HIDING_DRAM_CAP', 'ciphertext can be hidden'),
          ciphertextHidingEnabled: flag(6, 'CIPHERTEXT_HIDING_DRAM_EN', 'ciphertext is hidden'),
          tioEnabled: flag(7, 'TIO_EN', 'SEV-TIO is on'),
        },
      ),
      'configuration',
    ),
    guestCount: u32(0x0c, 'guest contexts that exist', { unit: 'guests' }),
    currentTcb: bytesField(0x10, 8, 'TCB version that runs'),
    reportedTcb: bytesField(0x18, 8, 'TCB version that reports are signed for'),
  },
);

export const snpFeatureInfoBuffer = structure(
  { name: 'SNP_FEATURE_INFO command', size: 16, source },
  {
    length: lengthOf(16),
    ecxIn: u32(4, 'which part of the features, as ECX of CPUID function 0x80000024'),
    resultAddress: u64(8, 'where the 16 bytes go'),
  },
);

/** What SNP_FEATURE_INFO gives for ECX 0: the registers of CPUID function 0x80000024. */
export const snpFeatureInfo = structure(
  { name: 'SNP_FEATURE_INFO', size: 16, source },
  {
    eax: u32(0, 'EAX', { default: 0 }),
    ebx: bitsField(
      4,
      bits(
        { name: 'SNP_FEATURE_INFO.EBX', width: 32, source, reserved: 'report' },
        { tio: flag(1, 'SEV_TIO', 'devices can be trusted by guests (SEV-TIO)') },
      ),
      'EBX',
    ),
    ecx: bitsField(
      8,
      bits(
        { name: 'SNP_FEATURE_INFO.ECX', width: 32, source, reserved: 'report' },
        {
          x86Shutdown: flag(1, 'X86_SNP_SHUTDOWN', 'SNP_SHUTDOWN_EX takes the cores out of SNP'),
          raplDisable: flag(2, 'RAPL_DIS', 'policies may ask for power measurement to be off'),
          ciphertextHiding: flag(3, 'CIPHERTEXT_HIDING', 'policies may ask for hidden ciphertext'),
          aes256Xts: flag(4, 'AES_256_XTS', 'policies may ask for AES-256-XTS'),
          cxl: flag(5, 'CXL', 'policies may speak of CXL'),
          verifyMitigation: flag(13, 'VERIFY_MITIGATION', 'SNP_VERIFY_MITIGATION exists'),
        },
      ),
      'ECX',
    ),
    edx: u32(12, 'EDX', { default: 0 }),
  },
);

/** Buffer of SNP_CONFIG. A REPORTED_TCB of zero takes the reported TCB version back to the committed one. */
export const snpConfigBuffer = structure(
  { name: 'SNP_CONFIG', size: 64, source },
  {
    reportedTcb: bytesField(
      0x00,
      8,
      'TCB version that reports are to be signed for; zero for the committed one',
      {
        default: new Uint8Array(8),
      },
    ),
    flags: bitsField(
      0x08,
      bits(
        { name: 'SNP_CONFIG.flags', width: 32, source, reserved: 'refuse' },
        {
          maskChipId: flag(0, 'MASK_CHIP_ID', 'reports do not name the chip'),
          maskChipKey: flag(1, 'MASK_CHIP_KEY', 'the chip’s own key does not sign reports'),
        },
      ),
      'what reports keep back',
      { default: { maskChipId: false, maskChipKey: false } },
    ),
    reserved0c: reserved(0x0c, 52),
  },
);

export const snpCommitBuffer = structure({ name: 'SNP_COMMIT', size: 4, source }, { length: lengthOf(4) });

export const snpVlekLoadBuffer = structure(
  { name: 'SNP_VLEK_LOAD', size: 16, source },
  {
    length: lengthOf(16),
    wrappedVersion: u8(4, 'version of the hashstick’s format', { default: 0 }),
    reserved05: reserved(5, 3),
    hashstickAddress: u64(8, 'the wrapped hashstick, 432 bytes'),
  },
);

/** A VLEK’s seed, wrapped with AES-256-GCM for one chip by AMD’s key service: 432 bytes. */
export const vlekHashstick = structure(
  { name: 'VLEK hashstick', size: 432, source },
  {
    iv: bytesField(0x000, 12, 'initialisation vector'),
    reserved00c: reserved(0x00c, 4),
    wrapped: bytesField(0x010, 384, 'encrypted seeds'),
    tcbVersion: bytesField(0x190, 8, 'TCB version that the key is for'),
    reserved198: reserved(0x198, 8),
    tag: bytesField(0x1a0, 16, 'authentication tag'),
  },
);

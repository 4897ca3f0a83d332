import { type BitValues, bits, flag } from '../codec/bits.js';

const ranges = {
  smtEnabled: flag(0, 'SMT_EN', 'simultaneous multithreading is on'),
  tsmeEnabled: flag(1, 'TSME_EN', 'all memory is encrypted transparently, the host’s too'),
  eccEnabled: flag(2, 'ECC_EN', 'memory has error correction'),
  raplDisabled: flag(3, 'RAPL_DIS', 'power measurement (RAPL) is off'),
  ciphertextHidingEnabled: flag(
    4,
    'CIPHERTEXT_HIDING_DRAM_EN',
    'ciphertext in memory is hidden from the host',
  ),
  aliasCheckComplete: flag(
    5,
    'ALIAS_CHECK_COMPLETE',
    'since the last reset no two addresses were found to name the same memory (BadRAM, AMD-SB-3015)',
  ),
  tioEnabled: flag(7, 'TIO_EN', 'devices can be trusted by guests (SEV-TIO); since version 5 of the report'),
};

/** PLATFORM_INFO of an attestation report. Bit 6 has no published meaning and is set on every Turin seen. */
export const snpPlatformInfoBits = bits(
  { name: 'PLATFORM_INFO', width: 64, source: 'SEV-SNP firmware ABI, PLATFORM_INFO', reserved: 'report' },
  ranges,
);

export type SnpPlatformInfoFields = BitValues<typeof ranges>;
export interface SnpPlatformInfo extends SnpPlatformInfoFields {
  readonly word: bigint;
  /** Set bits without a published meaning: chips set them, so they are reported and not refused. */
  readonly unknownBits: bigint;
}

/** @throws InvalidArgumentError when `word` is not an unsigned number of 64 bits */
export function parseSnpPlatformInfo(word: bigint): SnpPlatformInfo {
  const fields = snpPlatformInfoBits.parse(word);
  return { ...fields, word, unknownBits: word & snpPlatformInfoBits.reservedMask };
}

import { bitRange, bits, flag } from '../codec/bits.js';
import { bitsField, reserved, u64 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';

/** Command buffers of the SEV-SNP commands on pages. Packed and little-endian; addresses are system physical. */

const source = 'SEV-SNP firmware ABI (AMD 56860); linux include/linux/psp-sev.h';
/** Published in AMD's own tool only, in 2021; newer firmware may have grown these. */
const toolSource = 'AMDESE/sev-tool src/sevapi.h';

const pageReference = bits(
  { name: 'page reference', width: 64, source, reserved: 'refuse' },
  {
    large: flag(0, 'PAGE_SIZE', 'the page has 2 MiB, not 4 KiB'),
    frame: bitRange(12, 52, 'PADDR[63:12]', 'address of the page, divided by 4096'),
  },
);

/** Buffer of SNP_PAGE_RECLAIM: a page's address, with its size in bit 0. */
export const snpPageReclaimBuffer = structure(
  { name: 'SNP_PAGE_RECLAIM', size: 8, source },
  { page: bitsField(0, pageReference, 'the page') },
);

/** Buffer of SNP_PAGE_UNSMASH: the address of 2 MiB, with bit 0 as in SNP_PAGE_RECLAIM. */
export const snpPageUnsmashBuffer = structure(
  { name: 'SNP_PAGE_UNSMASH', size: 8, source },
  { page: bitsField(0, pageReference, 'the first of 512 pages') },
);

const sizeOnly = bits(
  { name: 'SNP_PAGE_MOVE.flags', width: 64, source: toolSource, reserved: 'refuse' },
  { large: flag(0, 'PAGE_SIZE', 'the page has 2 MiB, not 4 KiB') },
);

export const snpPageMoveBuffer = structure(
  { name: 'SNP_PAGE_MOVE', size: 0x20, source: toolSource },
  {
    gctxAddress: u64(0x00, 'context page of the guest'),
    flags: bitsField(0x08, sizeOnly, 'size of the page', { default: { large: false } }),
    sourceAddress: u64(0x10, 'from this page'),
    destinationAddress: u64(0x18, 'to this page'),
  },
);

const swapRanges = {
  large: flag(0, 'PAGE_SIZE', 'the page has 2 MiB, not 4 KiB'),
  type: bitRange(1, 2, 'PAGE_TYPE', '0 data, 1 metadata, 2 VMSA'),
  root: flag(4, 'ROOT_MDATA_EN', 'the metadata entry stands in the guest context'),
};

export const snpPageSwapOutBuffer = structure(
  { name: 'SNP_PAGE_SWAP_OUT', size: 0x30, source: toolSource },
  {
    gctxAddress: u64(0x00, 'context page of the guest'),
    sourceAddress: u64(0x08, 'the page that goes'),
    destinationAddress: u64(0x10, 'where its ciphertext goes'),
    metadataAddress: u64(0x18, 'where its metadata entry goes', { default: 0n }),
    softwareData: u64(0x20, 'for the host to keep in the metadata entry', { default: 0n }),
    flags: bitsField(
      0x28,
      bits(
        { name: 'SNP_PAGE_SWAP_OUT.flags', width: 64, source: toolSource, reserved: 'refuse' },
        swapRanges,
      ),
      'kind of page',
    ),
  },
);

export const snpPageSwapInBuffer = structure(
  { name: 'SNP_PAGE_SWAP_IN', size: 0x30, source: toolSource },
  {
    gctxAddress: u64(0x00, 'context page of the guest'),
    sourceAddress: u64(0x08, 'ciphertext of the page'),
    destinationAddress: u64(0x10, 'where the page goes'),
    metadataAddress: u64(0x18, 'its metadata entry', { default: 0n }),
    reserved20: reserved(0x20, 8),
    flags: bitsField(
      0x28,
      bits(
        { name: 'SNP_PAGE_SWAP_IN.flags', width: 64, source: toolSource, reserved: 'refuse' },
        { ...swapRanges, inPlace: flag(3, 'SWAP_IN_PLACE', 'source and destination are one page') },
      ),
      'kind of page',
    ),
  },
);

export const snpPageMdInitBuffer = structure(
  { name: 'SNP_PAGE_MD_INIT', size: 0x10, source: toolSource },
  {
    gctxAddress: u64(0x00, 'context page of the guest'),
    pageAddress: u64(0x08, 'Firmware page that becomes a Metadata page'),
  },
);

import { bits, flag } from '../codec/bits.js';
import { bitsField, bytesField, named, reserved, u8, u16, u64 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { digestBlocks, digestChain } from '../crypto/index.js';
import { InvalidArgumentError } from '../errors.js';

const source = 'SEV Secure Nested Paging Firmware ABI Specification, SNP_LAUNCH_UPDATE, PAGE_INFO';

export const snpPageSize = 4096;

/** How a page enters a SNP guest. The contents of NORMAL and VMSA pages are measured, of the others type and address. */
export const snpPageTypes = {
  NORMAL: 1,
  VMSA: 2,
  ZERO: 3,
  UNMEASURED: 4,
  SECRETS: 5,
  CPUID: 6,
} as const;
export type SnpPageType = keyof typeof snpPageTypes;

const imiPageBits = bits(
  { name: 'initial migration image page', width: 8, source, reserved: 'refuse' },
  { imiPage: flag(0, 'IMI_PAGE', 'the page belongs to an initial migration image') },
);

const digestSize = 48;

/** What is hashed for one page of 4 KiB that is launched; the hash is the next DIGEST_CUR and at last the measurement. */
export const snpPageInfo = structure(
  { name: 'PAGE_INFO', size: 0x70, source },
  {
    digestCurrent: bytesField(0x00, digestSize, 'launch digest before this page'),
    contents: bytesField(0x30, digestSize, 'SHA-384 of the page, for NORMAL and VMSA; else zero', {
      default: new Uint8Array(digestSize),
    }),
    length: u16(0x60, 'length of this structure', { equals: 0x70, unit: 'bytes' }),
    pageType: named(0x62, 1, snpPageTypes, 'how the page enters the guest'),
    imiPage: bitsField(0x63, imiPageBits, 'whether it belongs to an initial migration image', {
      default: { imiPage: false },
    }),
    reserved64: reserved(0x64, 1),
    vmpl1Permissions: u8(0x65, 'what VMPL 1 may do with the page', { default: 0 }),
    vmpl2Permissions: u8(0x66, 'what VMPL 2 may do with the page', { default: 0 }),
    vmpl3Permissions: u8(0x67, 'what VMPL 3 may do with the page', { default: 0 }),
    gpa: u64(0x68, 'guest physical address'),
  },
);

/** The launch digest of a guest of which nothing has been launched yet: 48 zero bytes. */
export const emptySnpDigest: Uint8Array = new Uint8Array(digestSize);

/** Pages that are launched one after the other, ascending from `gpa`. */
export type SnpPageRun =
  | {
      readonly type: 'NORMAL' | 'VMSA';
      readonly gpa: number;
      /** Whole pages. */
      readonly data: Uint8Array;
    }
  | {
      readonly type: 'ZERO' | 'UNMEASURED' | 'SECRETS' | 'CPUID';
      readonly gpa: number;
      readonly pages: number;
    };

/** What pages add to the digest before them: for each, 64 bytes, PAGE_INFO without its first field. */
export type SnpPageLinks = Uint8Array;

const linkSize = snpPageInfo.size - digestSize;

/**
 * What the pages of a run add. It does not depend on what comes before them, so what several digests have in common is
 * made once.
 * @throws InvalidArgumentError for an address or a length that is not a multiple of 4096
 */
export async function snpPageLinks(run: SnpPageRun): Promise<SnpPageLinks> {
  const pages = 'data' in run ? run.data.length / snpPageSize : run.pages;
  if (!Number.isInteger(pages) || pages < 1) {
    throw new InvalidArgumentError(`${run.type} pages`, `expected a number of whole pages, found ${pages}`);
  }
  if (!Number.isSafeInteger(run.gpa) || run.gpa < 0 || run.gpa % snpPageSize !== 0) {
    throw new InvalidArgumentError(`${run.type} pages`, `${run.gpa} is not the address of a page`);
  }
  const contents = 'data' in run ? await digestBlocks('sha384', run.data, snpPageSize) : undefined;
  const link = snpPageInfo
    .build({ digestCurrent: emptySnpDigest, pageType: run.type, gpa: 0n })
    .slice(digestSize);
  const links = new Uint8Array(pages * linkSize);
  const view = new DataView(links.buffer);
  const gpaAt = snpPageInfo.offsetOf('gpa') - digestSize;
  const contentsAt = snpPageInfo.offsetOf('contents') - digestSize;
  for (let page = 0; page < pages; page++) {
    const at = page * linkSize;
    links.set(link, at);
    view.setBigUint64(at + gpaAt, BigInt(run.gpa + page * snpPageSize), true);
    if (contents === undefined) continue;
    for (let i = 0; i < digestSize; i++) links[at + contentsAt + i] = contents[page * digestSize + i]!;
  }
  return links;
}

/** How many pages links are of. */
export function pagesOfLinks(links: SnpPageLinks): number {
  return links.length / linkSize;
}

/**
 * The launch digest after further pages. A digest is all the state there is: going on from one that is known is the same
 * as measuring what led to it again.
 * @param digest 48 bytes
 */
export function extendSnpDigest(digest: Uint8Array, links: SnpPageLinks): Promise<Uint8Array> {
  return digestChain('sha384', digest, links, linkSize);
}

/** The launch digest after further runs of pages. */
export async function measureSnpPages(
  digest: Uint8Array,
  ...runs: readonly SnpPageRun[]
): Promise<Uint8Array> {
  let state = digest;
  for (const run of runs) state = await extendSnpDigest(state, await snpPageLinks(run));
  return state;
}

import { bits, flag } from '../codec/bits.js';
import { bitsField, bytesField, named, reserved, u8, u16, u64 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { digestChain, digestEach } from '../crypto/index.js';
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

/** What one page adds to the digest before it: PAGE_INFO without its first field. */
export type SnpPageLink = Uint8Array;

/**
 * What each page of a run adds, 64 bytes a page. Links do not depend on what comes before them, so those that several
 * digests have in common are made once.
 * @throws InvalidArgumentError for an address or a length that is not a multiple of 4096
 */
export async function snpPageLinks(run: SnpPageRun): Promise<SnpPageLink[]> {
  const pages = 'data' in run ? run.data.length / snpPageSize : run.pages;
  if (!Number.isInteger(pages) || pages < 1) {
    throw new InvalidArgumentError(`${run.type} pages`, `expected a number of whole pages, found ${pages}`);
  }
  if (!Number.isSafeInteger(run.gpa) || run.gpa < 0 || run.gpa % snpPageSize !== 0) {
    throw new InvalidArgumentError(`${run.type} pages`, `${run.gpa} is not the address of a page`);
  }
  const contents = 'data' in run ? await digestEach('sha384', pagesOf(run.data)) : undefined;
  const common = snpPageInfo.build({ digestCurrent: emptySnpDigest, pageType: run.type, gpa: 0n });
  return Array.from({ length: pages }, (_, page) => {
    const link = common.slice(digestSize);
    if (contents !== undefined) link.set(contents[page]!, snpPageInfo.offsetOf('contents') - digestSize);
    const gpa = BigInt(run.gpa + page * snpPageSize);
    new DataView(link.buffer).setBigUint64(snpPageInfo.offsetOf('gpa') - digestSize, gpa, true);
    return link;
  });
}

function pagesOf(data: Uint8Array): Uint8Array[] {
  return Array.from({ length: data.length / snpPageSize }, (_, page) =>
    data.subarray(page * snpPageSize, (page + 1) * snpPageSize),
  );
}

/**
 * The launch digest after further pages. A digest is all the state there is: going on from one that is known is the same
 * as measuring what led to it again.
 * @param digest 48 bytes
 */
export function extendSnpDigest(digest: Uint8Array, links: readonly SnpPageLink[]): Promise<Uint8Array> {
  return digestChain('sha384', digest, links);
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

import { bitRange, bits, flag } from '../codec/bits.js';
import { reserved, u16 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { ghcb } from './ghcb.js';

const source = 'AMD 56421 (GHCB), page state change; linux arch/x86/include/asm/sev-common.h';

/** What a guest asks its host to do with pages, in the shared buffer of the GHCB. `end` is the index of the last entry. */
export const pageStateChangeHeader = structure(
  { name: 'page state change', size: 8, source },
  {
    current: u16(0, 'index of the entry to go on with; the host moves it'),
    end: u16(2, 'index of the last entry'),
    reserved04: reserved(4, 4),
  },
);

export const pageStateOperations = { PRIVATE: 1, SHARED: 2, PSMASH: 3, UNSMASH: 4 } as const;
export type PageStateOperation = keyof typeof pageStateOperations;

/** One entry of a page state change, 8 bytes. */
export const pageStateChangeBits = bits(
  { name: 'page state change entry', width: 64, source, reserved: 'refuse' },
  {
    currentPage: bitRange(0, 12, 'CUR_PAGE', 'pages of 4 KiB that the host is done with'),
    frame: bitRange(12, 40, 'GFN', 'guest physical address, divided by 4096'),
    operation: bitRange(52, 4, 'OPERATION', '1 private, 2 shared, 3 PSMASH, 4 UNSMASH'),
    large: flag(56, 'PAGE_SIZE', 'the page has 2 MiB, not 4 KiB'),
  },
);

export interface PageStateChangeEntry {
  /** Pages of 4 KiB of this entry that the host is done with. */
  readonly currentPage: number;
  /** Guest physical address of the page. */
  readonly address: number;
  readonly operation: PageStateOperation;
  readonly large: boolean;
}

export interface PageStateChange {
  /** Index of the entry to go on with. */
  readonly current: number;
  readonly entries: readonly PageStateChangeEntry[];
}

/** Entries that the shared buffer of a GHCB has room for. */
export const pageStateChangeLimit: number =
  (ghcb.fields['sharedBuffer']!.size - pageStateChangeHeader.size) / 8;

/**
 * A page state change for the shared buffer.
 * @throws InvalidArgumentError for no entries, more than 253, or an address that is not a page's
 */
export function buildPageStateChange({ current, entries }: PageStateChange): Uint8Array {
  if (entries.length < 1 || entries.length > pageStateChangeLimit) {
    throw new InvalidArgumentError('page state change', `expected 1 to ${pageStateChangeLimit} entries`);
  }
  const bytes = new Uint8Array(pageStateChangeHeader.size + 8 * entries.length);
  bytes.set(pageStateChangeHeader.build({ current, end: entries.length - 1 }));
  const view = new DataView(bytes.buffer);
  for (const [i, { address, operation, ...rest }] of entries.entries()) {
    const size = rest.large ? 0x20_0000 : 0x1000;
    if (address % size !== 0)
      throw new InvalidArgumentError(
        'page state change',
        `0x${address.toString(16)} is not a page's address`,
      );
    const word = pageStateChangeBits.build({
      ...rest,
      frame: address / 0x1000,
      operation: pageStateOperations[operation],
    });
    view.setBigUint64(pageStateChangeHeader.size + 8 * i, word, true);
  }
  return bytes;
}

/**
 * Reads a page state change from the shared buffer. The host reads what the guest wrote and the guest what the host wrote
 * back, and neither trusts the other.
 * @param bytes the shared buffer; what stands behind the last entry is not looked at
 * @throws MalformedError for entries beyond the buffer or behind `end`, reserved bits, unknown operations and large pages that are not aligned
 */
export function parsePageStateChange(bytes: Uint8Array): PageStateChange {
  const { name } = pageStateChangeHeader;
  const refuse = (field: string, offset: number, expected: string, found: string) => {
    throw new MalformedError({ structure: name, field, offset, expected, found });
  };
  const { current, end } = pageStateChangeHeader.parseAt(bytes, 0);
  const room = Math.min(pageStateChangeLimit, Math.floor((bytes.length - pageStateChangeHeader.size) / 8));
  if (end >= room) refuse('end', 2, `at most ${room - 1}`, String(end));
  if (current > end + 1) refuse('current', 0, `at most ${end + 1}`, String(current));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries = Array.from({ length: end + 1 }, (_, i): PageStateChangeEntry => {
    const offset = pageStateChangeHeader.size + 8 * i;
    const location = { offset, path: `${name}, entry ${i}` };
    const { frame, operation, currentPage, large } = pageStateChangeBits.parse(
      view.getBigUint64(offset, true),
      location,
    );
    const known = (Object.keys(pageStateOperations) as PageStateOperation[]).find(
      (each) => pageStateOperations[each] === operation,
    );
    if (known === undefined)
      return refuse(`entry ${i}, OPERATION`, offset, '1, 2, 3 or 4', String(operation)) as never;
    if (large && frame % 512 !== 0) refuse(`entry ${i}, GFN`, offset, 'a multiple of 512', String(frame));
    return { currentPage, address: frame * 0x1000, operation: known, large };
  });
  return { current, entries };
}

import { concat } from '../bytes.js';
import type { Location } from '../codec/field.js';
import { reserved, u32, u64 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';

const source = 'SEV-SNP firmware ABI, CPUID page; linux arch/x86/include/asm/sev.h, struct snp_cpuid_table';

/** One function of CPUID: what it was asked with and what it gives. 48 bytes. */
export const cpuidEntry = structure(
  { name: 'CPUID entry', size: 48, source },
  {
    eaxIn: u32(0x00, 'EAX: the function'),
    ecxIn: u32(0x04, 'ECX: the subfunction', { default: 0 }),
    xcr0In: u64(0x08, 'XCR0 that it was asked with', { default: 0n }),
    xssIn: u64(0x10, 'XSS that it was asked with', { default: 0n }),
    eax: u32(0x18, 'EAX of the answer', { default: 0 }),
    ebx: u32(0x1c, 'EBX of the answer', { default: 0 }),
    ecx: u32(0x20, 'ECX of the answer', { default: 0 }),
    edx: u32(0x24, 'EDX of the answer', { default: 0 }),
    reserved28: reserved(0x28, 8),
  },
);

/** Head of a CPUID page and of MSG_CPUID_REQ; `count` entries follow. */
export const cpuidTableHeader = structure(
  { name: 'CPUID table', size: 16, source },
  { count: u32(0, 'entries that follow', { unit: 'entries' }), reserved04: reserved(4, 12) },
);

export interface CpuidEntry {
  readonly eaxIn: number;
  readonly ecxIn: number;
  readonly xcr0In: bigint;
  readonly xssIn: bigint;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** The most entries that a page or a message holds. */
export const cpuidEntryLimit = 64;

/**
 * Reads entries that stand one behind the other, as in a CPUID page and its messages.
 * @throws MalformedError for more than 64 entries, and when the input ends before they do
 */
export function readCpuidEntries(
  bytes: Uint8Array,
  offset: number,
  count: number,
  location: Location = { offset: 0, path: cpuidTableHeader.name },
): CpuidEntry[] {
  if (count > cpuidEntryLimit) {
    throw new MalformedError({
      structure: location.path ?? cpuidTableHeader.name,
      field: 'count',
      offset: location.offset,
      expected: `at most ${cpuidEntryLimit}`,
      found: String(count),
    });
  }
  return Array.from({ length: count }, (_, i) => {
    const { raw: _raw, notes: _notes, ...entry } = cpuidEntry.parseAt(bytes, offset + 48 * i, location);
    return entry;
  });
}

/** The bytes of entries, 48 each. @throws InvalidArgumentError for more than 64 */
export function buildCpuidEntries(entries: readonly CpuidEntry[]): Uint8Array {
  if (entries.length > cpuidEntryLimit)
    throw new InvalidArgumentError('CPUID entries', `${entries.length} are more than ${cpuidEntryLimit}`);
  return concat(...entries.map((entry) => cpuidEntry.build(entry)));
}

/**
 * Reads the CPUID page of a guest.
 * @param bytes 4096 bytes; what stands behind the entries is not looked at, as the firmware does not look at it
 * @throws MalformedError for another length, more than 64 entries, or reserved bytes that are not zero
 */
export function parseCpuidPage(bytes: Uint8Array): CpuidEntry[] {
  const structureName = 'CPUID page';
  if (bytes.length !== 4096) {
    throw new MalformedError({
      structure: structureName,
      field: 'length',
      offset: 0,
      expected: '4096 bytes',
      found: `${bytes.length} bytes`,
    });
  }
  const location = { offset: 0, path: structureName };
  const { count } = cpuidTableHeader.parseAt(bytes, 0, location);
  return readCpuidEntries(bytes, cpuidTableHeader.size, count, location);
}

/** A CPUID page, 4096 bytes. @throws InvalidArgumentError for more than 64 entries */
export function buildCpuidPage(entries: readonly CpuidEntry[]): Uint8Array {
  const page = new Uint8Array(4096);
  page.set(cpuidTableHeader.build({ count: entries.length }));
  page.set(buildCpuidEntries(entries), cpuidTableHeader.size);
  return page;
}

import { concat } from '../bytes.js';
import { reserved, u32 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { MalformedError } from '../errors.js';
import {
  buildCpuidEntries,
  type CpuidEntry,
  cpuidEntry,
  cpuidTableHeader,
  readCpuidEntries,
} from '../launch/cpuid-page.js';

/** Head of MSG_CPUID_RSP; `count` entries with corrected values follow. */
export const cpuidResponseHeader = structure(
  {
    name: 'MSG_CPUID_RSP',
    size: 16,
    source: 'SEV-SNP firmware ABI, MSG_CPUID_RSP; AMDESE/sev-tool src/sevapi.h',
  },
  {
    status: u32(0x00, '0 success, 0x16 invalid parameter'),
    count: u32(0x04, 'entries that follow', { unit: 'entries' }),
    reserved08: reserved(0x08, 8, 'report'),
  },
);

/** Payload of MSG_CPUID_REQ: functions with the values that a guest was told. @throws InvalidArgumentError for over 64 */
export function buildCpuidRequest(entries: readonly CpuidEntry[]): Uint8Array {
  return concat(cpuidTableHeader.build({ count: entries.length }), buildCpuidEntries(entries));
}

/** Reads the payload of MSG_CPUID_REQ. @throws MalformedError unless it is exactly as long as its entries */
export function parseCpuidRequest(payload: Uint8Array): CpuidEntry[] {
  const { count } = cpuidTableHeader.parseAt(payload, 0, { offset: 0, path: 'MSG_CPUID_REQ' });
  return exactEntries('MSG_CPUID_REQ', payload, count);
}

export interface CpuidResponse {
  readonly status: number;
  readonly entries: readonly CpuidEntry[];
}

/** Payload of MSG_CPUID_RSP. @throws InvalidArgumentError for more than 64 entries */
export function buildCpuidResponse({ status, entries }: CpuidResponse): Uint8Array {
  const header = cpuidResponseHeader.build({ status, count: entries.length });
  return concat(header, buildCpuidEntries(entries));
}

/** Reads the payload of MSG_CPUID_RSP. @throws MalformedError unless it is exactly as long as its entries */
export function parseCpuidResponse(payload: Uint8Array): CpuidResponse {
  const { status, count } = cpuidResponseHeader.parseAt(payload, 0);
  return { status, entries: exactEntries(cpuidResponseHeader.name, payload, count) };
}

function exactEntries(structureName: string, payload: Uint8Array, count: number): CpuidEntry[] {
  const entries = readCpuidEntries(payload, 16, count, { offset: 0, path: structureName });
  const expected = 16 + count * cpuidEntry.size;
  if (payload.length === expected) return entries;
  throw new MalformedError({
    structure: structureName,
    field: 'length',
    offset: expected,
    expected: `${expected} bytes`,
    found: `${payload.length} bytes`,
  });
}

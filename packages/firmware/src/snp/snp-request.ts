import { MalformedError, type Parsed, type Structure } from '@vouchsafe/sev';
import type { MemoryRange, PhysicalMemory } from '../memory/dram.js';
import { refuse, refuseUnless } from '../processor/command-refusal.js';
import { HostSnapshot } from '../processor/host-snapshot.js';
import { bytesOf, type PageSize, smallPage } from '../rmp/page-state.js';
import type { ReverseMap } from '../rmp/reverse-map.js';

/**
 * What one SEV-SNP command takes and gives back. Once the reverse map table is in force, results go into Firmware pages
 * alone (INVALID_PAGE_STATE): a host that could point the firmware elsewhere would have it write over its guests.
 */
export class SnpRequest extends HostSnapshot {
  readonly #reverseMap: ReverseMap | undefined;

  constructor(
    memory: PhysicalMemory,
    trusted: MemoryRange | undefined,
    bufferAddress: number,
    reverseMap: ReverseMap | undefined,
  ) {
    super(memory, trusted, bufferAddress);
    this.#reverseMap = reverseMap;
  }

  /** The address of a page: INVALID_ADDRESS outside memory, or where no page of this size begins. */
  page(address: bigint, size: PageSize = '4K'): number {
    const length = bytesOf(size);
    refuseUnless(address % BigInt(length) === 0n, 'INVALID_ADDRESS');
    return this.range(address, length).address;
  }

  /** Copies a structure that the host passed; what it does not admit is INVALID_PARAM. */
  structureAt<T extends object, B extends object>(address: bigint, structure: Structure<T, B>): Parsed<T> {
    return parsedOrRefused(() => structure.parse(this.take(address, structure.size)));
  }

  /** Where a result may go. */
  resultRange(address: bigint, length: number): MemoryRange {
    const range = this.range(address, length);
    const first = range.address - (range.address % smallPage);
    for (let at = first; at < range.address + length; at += smallPage) {
      const isFirmware = this.#reverseMap === undefined || this.#reverseMap.state(at) === 'Firmware';
      refuseUnless(isFirmware, 'INVALID_PAGE_STATE');
    }
    return range;
  }

  placeResult(address: bigint, bytes: Uint8Array): void {
    this.resultRange(address, bytes.length);
    this.place(address, bytes);
  }
}

/** What a parser does not admit is INVALID_PARAM. */
export function parsedOrRefused<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof MalformedError) refuse('INVALID_PARAM');
    throw error;
  }
}

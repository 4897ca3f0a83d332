import { MalformedError, type Parsed, type Structure } from '@vouchsafe/sev';
import { isInside, type MemoryRange, overlap, type PhysicalMemory } from '../memory/dram.js';
import { refuse, refuseUnless } from './command-refusal.js';

/**
 * What one command takes from the host and gives back to it. Everything is copied exactly once, before it is used: the
 * host can change its memory while a command runs, and what was hashed must be what is encrypted. Commands reach host
 * memory in no other way. An address outside memory, or in the trusted memory region, is INVALID_ADDRESS.
 */
export class HostSnapshot {
  readonly #memory: PhysicalMemory;
  readonly #trusted: MemoryRange | undefined;
  readonly bufferAddress: bigint;

  constructor(memory: PhysicalMemory, trusted: MemoryRange | undefined, bufferAddress: number) {
    this.#memory = memory;
    this.#trusted = trusted;
    this.bufferAddress = BigInt(bufferAddress);
  }

  /** The command buffer. Reserved bytes that are not zero are INVALID_PARAM. */
  command<T extends object, B extends object>(structure: Structure<T, B>): Parsed<T> {
    const bytes = this.take(this.bufferAddress, structure.size);
    try {
      return structure.parse(bytes);
    } catch (error) {
      if (error instanceof MalformedError) refuse('INVALID_PARAM');
      throw error;
    }
  }

  /** Writes the command buffer back with new values in it. */
  answer<T extends object, B extends object>(structure: Structure<T, B>, values: B): void {
    this.place(this.bufferAddress, structure.build(values));
  }

  /** Copies a buffer that the host passed. */
  take(address: bigint, length: number): Uint8Array {
    const range = this.range(address, length);
    return this.#memory.read(range.address, range.length);
  }

  place(address: bigint, bytes: Uint8Array): void {
    const range = this.range(address, bytes.length);
    this.#memory.write(range.address, bytes);
  }

  /** The range, if it lies in memory that the host may name; commands call it before they change anything. */
  range(address: bigint, length: number): MemoryRange {
    const range = { address: Number(address), length };
    const usable = address <= BigInt(Number.MAX_SAFE_INTEGER) && isInside(this.#memory, range);
    refuseUnless(usable && !overlap(this.#trusted, range), 'INVALID_ADDRESS');
    return range;
  }
}

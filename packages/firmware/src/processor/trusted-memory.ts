import type { MemoryRange, PhysicalMemory } from '../memory/dram.js';
import { refuse } from './command-refusal.js';

/**
 * The trusted memory region: memory that the host gave away at INIT and can no longer reach. It holds the integrity
 * value of each VMSA, so that a host can neither change the registers of a SEV-ES guest nor put old ones back.
 */
export class TrustedMemory {
  readonly range: MemoryRange;
  readonly #memory: PhysicalMemory;
  readonly #used = new Map<number, number>();

  constructor(memory: PhysicalMemory, range: MemoryRange) {
    this.#memory = memory;
    this.range = range;
    memory.write(range.address, new Uint8Array(range.length));
  }

  /** A free slot of eight bytes for a VMSA of this guest; RESOURCE_LIMIT when the region is full. */
  allocate(handle: number): number {
    for (let at = this.range.address; at < this.range.address + this.range.length; at += slotSize) {
      if (this.#used.has(at)) continue;
      this.#used.set(at, handle);
      return at;
    }
    return refuse('RESOURCE_LIMIT');
  }

  /** Frees the slots of a guest that is gone. */
  release(handle: number): void {
    for (const [at, owner] of this.#used) {
      if (owner === handle) this.#used.delete(at);
    }
  }

  /** The integrity value in a slot; undefined where the address is not that of a slot in use. */
  read(slot: number): bigint | undefined {
    if (!this.#used.has(slot)) return undefined;
    const bytes = this.#memory.read(slot, slotSize);
    return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  }

  write(slot: number, value: bigint): void {
    const bytes = new Uint8Array(slotSize);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    this.#memory.write(slot, bytes);
  }
}

const slotSize = 8;

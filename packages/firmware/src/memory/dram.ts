import { InvalidArgumentError } from '@vouchsafe/sev';

/**
 * The memory chips: bytes as they stand on the bus, so ciphertext wherever a guest or the processor encrypted. Everybody
 * reaches them through this interface, and a test may put a memory behind it that misbehaves.
 */
export interface PhysicalMemory {
  /** Bytes, from address 0. */
  readonly size: number;
  /** A copy. Callers have checked that the range lies inside. */
  read(address: number, length: number): Uint8Array;
  write(address: number, bytes: Uint8Array): void;
}

export function createDram(size: number): PhysicalMemory {
  if (!Number.isSafeInteger(size) || size <= 0 || size % 4096 !== 0) {
    throw new InvalidArgumentError('memory size', 'expected a positive multiple of 4096 bytes');
  }
  const cells = new Uint8Array(size);
  return {
    size,
    read: (address, length) => cells.slice(address, address + length),
    write: (address, bytes) => cells.set(bytes, address),
  };
}

/** A range of system physical memory, in bytes. */
export interface MemoryRange {
  readonly address: number;
  readonly length: number;
}

export function isInside(memory: { readonly size: number }, range: MemoryRange): boolean {
  const { address, length } = range;
  return Number.isSafeInteger(address) && address >= 0 && length >= 0 && address + length <= memory.size;
}

export function overlap(a: MemoryRange | undefined, b: MemoryRange): boolean {
  return a !== undefined && a.address < b.address + b.length && b.address < a.address + a.length;
}

import type { Secret } from '@vouchsafe/sev';
import type { NestedMapping } from '../mailbox.js';
import { isInside, type MemoryRange, overlap, type PhysicalMemory } from '../memory/dram.js';
import { readEncrypted, writeEncrypted } from '../memory/encryption.js';

/** Raised where the host has mapped nothing: the guest leaves with it as a nested page fault. */
export class NestedPageFault extends Error {
  readonly guestAddress: number;

  constructor(guestAddress: number) {
    super(`nothing is mapped at guest address 0x${guestAddress.toString(16)}`);
    this.guestAddress = guestAddress;
  }
}

/** A guest's memory while it runs: the nested page table is the host's, the key of private pages is not. */
export interface GuestMemory {
  readonly memory: PhysicalMemory;
  readonly nestedPages: readonly NestedMapping[];
  /** Not even a guest's pages may lie here. */
  readonly trusted: MemoryRange;
}

export function readGuest(
  guest: GuestMemory,
  key: Secret | undefined,
  guestAddress: number,
  length: number,
): Uint8Array {
  const parts = translate(guest, guestAddress, length);
  // Not before: a guest may name any length, and only what is mapped may cost memory.
  const bytes = new Uint8Array(length);
  for (const part of parts) {
    const { address, length: size } = part.system;
    const read =
      key === undefined ? guest.memory.read(address, size) : readEncrypted(guest.memory, key, address, size);
    bytes.set(read, part.offset);
  }
  return bytes;
}

export function writeGuest(
  guest: GuestMemory,
  key: Secret | undefined,
  guestAddress: number,
  bytes: Uint8Array,
): void {
  for (const part of translate(guest, guestAddress, bytes.length)) {
    const { address, length } = part.system;
    const piece = bytes.subarray(part.offset, part.offset + length);
    if (key === undefined) guest.memory.write(address, piece);
    else writeEncrypted(guest.memory, key, address, piece);
  }
}

/** All pieces are found before any is touched, so that an access happens whole or not at all. */
function translate(
  guest: GuestMemory,
  guestAddress: number,
  length: number,
): { offset: number; system: MemoryRange }[] {
  const parts: { offset: number; system: MemoryRange }[] = [];
  for (let offset = 0; offset < length; ) {
    const at = guestAddress + offset;
    const row = guest.nestedPages.find(
      (each) => at >= each.guestAddress && at < each.guestAddress + each.length,
    );
    if (row === undefined) throw new NestedPageFault(at);
    const size = Math.min(length - offset, row.guestAddress + row.length - at);
    const system = { address: row.systemAddress + (at - row.guestAddress), length: size };
    if (!isInside(guest.memory, system) || overlap(guest.trusted, system)) throw new NestedPageFault(at);
    parts.push({ offset, system });
    offset += size;
  }
  return parts;
}

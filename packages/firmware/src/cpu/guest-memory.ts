import type { Secret } from '@vouchsafe/sev';
import type { NestedMapping } from '../mailbox.js';
import { isInside, type MemoryRange, overlap, type PhysicalMemory } from '../memory/dram.js';
import { readEncrypted, writeEncrypted } from '../memory/encryption.js';
import { NestedPageFault } from '../memory/nested-page-fault.js';
import { requirePrivateAccess, type SnpVcpu, violated } from '../rmp/guest-access.js';
import { smallPage } from '../rmp/page-state.js';
import type { ReverseMap } from '../rmp/reverse-map.js';

/** A guest's memory while it runs: the nested page table is the host's, the key of private pages is not. */
export interface GuestMemory {
  readonly memory: PhysicalMemory;
  readonly nestedPages: readonly NestedMapping[];
  /** Not even a guest's pages may lie here. */
  readonly trusted: MemoryRange | undefined;
  /** After SNP_INIT it binds every guest, of whatever kind. */
  readonly reverseMap: ReverseMap | undefined;
  /** Of SNP guests alone. */
  readonly snp: SnpVcpu | undefined;
}

export function readGuest(
  guest: GuestMemory,
  key: Secret | undefined,
  guestAddress: number,
  length: number,
): Uint8Array {
  const parts = translate(guest, guestAddress, length);
  requireAllowed(guest, parts, 'read', key !== undefined);
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
  const parts = translate(guest, guestAddress, bytes.length);
  requireAllowed(guest, parts, 'write', key !== undefined);
  for (const part of parts) {
    const { address, length } = part.system;
    const piece = bytes.subarray(part.offset, part.offset + length);
    if (key === undefined) guest.memory.write(address, piece);
    else writeEncrypted(guest.memory, key, address, piece);
  }
}

/** Throws what a write of the whole range through the guest's key would, and writes nothing. */
export function requireWritable(guest: GuestMemory, guestAddress: number, length: number): void {
  requireAllowed(guest, translate(guest, guestAddress, length), 'write', true);
}

/** System physical address of a byte of the guest's. */
export function locate(guest: GuestMemory, guestAddress: number): number {
  const [part] = translate(guest, guestAddress, 1);
  if (part === undefined) throw new NestedPageFault(guestAddress);
  return part.system.address;
}

interface Part {
  /** From the first byte of the access. */
  readonly offset: number;
  readonly guestAddress: number;
  readonly system: MemoryRange;
}

/** All pieces are found before any is touched, so that an access happens whole or not at all. */
function translate(guest: GuestMemory, guestAddress: number, length: number): Part[] {
  const parts: Part[] = [];
  for (let offset = 0; offset < length; ) {
    const at = guestAddress + offset;
    const row = guest.nestedPages.find(
      (each) => at >= each.guestAddress && at < each.guestAddress + each.length,
    );
    if (row === undefined) throw new NestedPageFault(at);
    const size = Math.min(length - offset, row.guestAddress + row.length - at);
    const system = { address: row.systemAddress + (at - row.guestAddress), length: size };
    if (!isInside(guest.memory, system) || overlap(guest.trusted, system)) throw new NestedPageFault(at);
    parts.push({ offset, guestAddress: at, system });
    offset += size;
  }
  return parts;
}

/**
 * What the reverse map table says to an access (AMD64 APM volume 2, table 15-39). Outside an SNP guest's private memory
 * only writes are checked: what a guest reads as shared, or in a kind of guest that SNP does not protect, may be anybody's.
 */
function requireAllowed(
  { reverseMap, snp }: GuestMemory,
  parts: readonly Part[],
  access: 'read' | 'write',
  encrypted: boolean,
): void {
  if (reverseMap === undefined) return;
  for (const { guestAddress, system } of parts) {
    if (snp !== undefined && encrypted) {
      for (const at of pagesOf(system)) {
        requirePrivateAccess(reverseMap.entry(at), snp, guestAddress + (at - system.address), access);
      }
    } else if (access === 'write') {
      const assigned = reverseMap.firstAssigned(system);
      if (assigned === undefined) continue;
      const offset = Math.max(0, assigned - system.address);
      throw violated(guestAddress + offset, { write: true, encrypted });
    }
  }
}

/** The first byte of a range in each of its pages. */
function* pagesOf({ address, length }: MemoryRange): Generator<number> {
  const end = address + length;
  for (let at = address; at < end; at += smallPage - (at % smallPage)) yield at;
}

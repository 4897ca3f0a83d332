import type { MemoryRange, PhysicalMemory } from '../memory/dram.js';
import { refuseUnless } from '../processor/command-refusal.js';
import { type PageState, smallPage } from '../rmp/page-state.js';
import type { ReverseMap } from '../rmp/reverse-map.js';

const hostsOwn: readonly PageState[] = ['Hypervisor', 'HV-Fixed', 'Firmware'];

/**
 * Memory as the commands of SEV and SEV-ES write it. They know nothing of the reverse map table, and write where their
 * host says; with SEV-SNP on, a page of an SNP guest, or one that holds its context, is INVALID_PAGE_STATE for them.
 */
export function guardedMemory(
  memory: PhysicalMemory,
  reverseMap: () => ReverseMap | undefined,
): PhysicalMemory {
  return {
    size: memory.size,
    read: (address, length) => memory.read(address, length),
    write(address, bytes) {
      requireHostPages(reverseMap(), { address, length: bytes.length });
      memory.write(address, bytes);
    },
  };
}

export function requireHostPages(reverseMap: ReverseMap | undefined, { address, length }: MemoryRange): void {
  const first = address - (address % smallPage);
  for (let at = first; reverseMap !== undefined && at < address + length; at += smallPage) {
    refuseUnless(hostsOwn.includes(reverseMap.state(at)), 'INVALID_PAGE_STATE');
  }
}

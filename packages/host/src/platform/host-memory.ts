import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { trustedMemorySize, UnavailableError } from '@vouchsafe/sev';

/** A piece of the machine's physical memory that nothing else uses until it is freed. */
export interface HostAllocation {
  /** System physical address. */
  readonly address: number;
  readonly length: number;
  free(): void;
}

const pageSize = 4096;

/** What is in use, by machine: whoever drives the same machine in this process shares one list. */
const inUse = new WeakMap<HostMachine, HostAllocation[]>();

/**
 * Takes physical memory of the machine, page-aligned, not cleared. As one kernel runs on a machine, one process may
 * allocate on it. Page 0 and the trusted memory region are never given out.
 * @param alignment of the first byte; a multiple of 4096
 * @throws UnavailableError when there is no room
 */
export function allocateHostMemory(
  machine: HostMachine,
  length: number,
  alignment: number = pageSize,
): HostAllocation {
  const taken = inUse.get(machine) ?? [];
  inUse.set(machine, taken);
  const room = Math.max(pageSize, Math.ceil(length / pageSize) * pageSize);
  let address = alignment;
  let at = 0;
  for (; at < taken.length && taken[at]!.address - address < room; at++) {
    const end = taken[at]!.address + taken[at]!.length;
    address = Math.ceil(end / alignment) * alignment;
  }
  if (address + room > trustedMemoryAddress(machine)) {
    throw new UnavailableError('host memory', `the machine has no ${length} bytes free in one piece`, {
      hint: 'stop a guest, or give the software machine more memory',
    });
  }
  const allocation: HostAllocation = {
    address,
    length: room,
    free() {
      const index = taken.indexOf(allocation);
      if (index >= 0) taken.splice(index, 1);
    },
  };
  taken.splice(at, 0, allocation);
  return allocation;
}

/**
 * Where INIT puts the trusted memory region: the last place that is aligned to its size. Always the same one, so that a
 * host process that finds the platform initialised knows what memory is closed to it.
 */
export function trustedMemoryAddress(machine: HostMachine): number {
  return Math.floor(machine.memory.size / trustedMemorySize - 1) * trustedMemorySize;
}

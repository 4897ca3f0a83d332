import type { HostMachine, NestedMapping } from '@vouchsafe/firmware/mailbox';
import { UnavailableError } from '@vouchsafe/sev';
import { allocateHostMemory } from '../platform/host-memory.js';

/** Guest physical memory of one machine, as its host lays it out. */
export interface GuestMemory {
  /** Bytes from guest address 0. */
  readonly size: number;
  readonly nestedPages: readonly NestedMapping[];
  /** Where a piece of guest memory lies in the host's; undefined where the guest has none, or not in one piece. */
  systemAddress(guestAddress: number, length: number): number | undefined;
  /** @throws UnavailableError where `systemAddress` is undefined */
  requireSystemAddress(guestAddress: number, length: number): number;
  free(): void;
}

const fourGibibytes = 0x1_0000_0000;

/**
 * Memory from guest address 0, and the firmware's image below 4 GiB, where a processor begins.
 * @param alignment of the memory in the host's: where it is that of a larger page, such pages can be used
 * @throws UnavailableError when the host has not as much
 */
export function createGuestMemory(
  machine: HostMachine,
  size: number,
  firmwareSize: number,
  alignment?: number,
): GuestMemory {
  const ram = allocateHostMemory(machine, size, alignment);
  const flash = allocateFlash();
  const nestedPages = [
    { guestAddress: 0, systemAddress: ram.address, length: ram.length },
    { guestAddress: fourGibibytes - firmwareSize, systemAddress: flash.address, length: flash.length },
  ];

  function allocateFlash() {
    try {
      return allocateHostMemory(machine, firmwareSize);
    } catch (error) {
      ram.free();
      throw error;
    }
  }

  function systemAddress(guestAddress: number, length: number): number | undefined {
    const holds = (row: NestedMapping) =>
      guestAddress >= row.guestAddress && guestAddress + length <= row.guestAddress + row.length;
    const row = nestedPages.find(holds);
    return row && row.systemAddress + (guestAddress - row.guestAddress);
  }

  return {
    size: ram.length,
    nestedPages,
    systemAddress,
    requireSystemAddress(guestAddress, length) {
      const address = systemAddress(guestAddress, length);
      if (address !== undefined) return address;
      const where = `0x${guestAddress.toString(16)}`;
      throw new UnavailableError('guest memory', `the guest has no ${length} bytes at ${where}`, {
        hint: 'give the guest more memory, or another address',
      });
    },
    free() {
      ram.free();
      flash.free();
    },
  };
}

/** Guest address of the image's first byte. */
export function firmwareAddress(firmwareSize: number): number {
  return fourGibibytes - firmwareSize;
}

import { sevIssueCommand } from '../platform/linux-abi.js';
import type { IoctlDevice, NativeBuffer, OpenIoctlDevice } from '../platform/linux-device.js';

/** Memory of a process, as the kernel sees it: found again by address. */
export function processMemory() {
  const buffers = new Map<bigint, Uint8Array>();
  let next = 0x7f00_0000_0000n;
  return {
    place(bytes: Uint8Array): NativeBuffer {
      const memory = bytes.slice();
      const address = next;
      next += 0x1_0000n;
      buffers.set(address, memory);
      return { address, bytes: memory, free: () => void buffers.delete(address) };
    },
    /** What the kernel's copy_from_user and copy_to_user reach. @throws TypeError where they would fault */
    at(address: bigint, length: number): Uint8Array {
      const memory = buffers.get(address);
      if (memory === undefined || memory.length < length) throw new TypeError('EFAULT');
      return memory.subarray(0, length);
    },
    get inUse() {
      return buffers.size;
    },
  };
}

export type ProcessMemory = ReturnType<typeof processMemory>;

/** A device whose every answer is the same: an errno and what stands in `error`. Tells what is still open or placed. */
export function scriptedDevice(
  errno: 0 | string,
  error = 0,
  fill?: (data: bigint, memory: ProcessMemory) => void,
) {
  const memory = processMemory();
  const state = { open: 0, requests: [] as bigint[], commands: [] as string[], memory };
  const open: OpenIoctlDevice = async (): Promise<IoctlDevice> => {
    state.open++;
    return {
      place: memory.place,
      async ioctl(request, argument) {
        const command = memory.at(argument, sevIssueCommand.size);
        const fields = sevIssueCommand.parse(command);
        state.requests.push(request);
        state.commands.push(fields.command);
        fill?.(fields.data, memory);
        command.set(sevIssueCommand.build({ ...fields, error }));
        return errno;
      },
      async close() {
        state.open--;
      },
    };
  };
  return { open, state };
}

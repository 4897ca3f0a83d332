import type { GuestView } from '@vouchsafe/firmware/guest-view';
import {
  type BootItem,
  type BootOperation,
  bootDeviceExitInformation,
  bootDevicePort,
  bootRequest,
  bootRequestLimit,
} from '@vouchsafe/protocol';
import { ghcbExitCodes, type LaunchArea, MalformedError } from '@vouchsafe/sev';
import { callHost } from '../snp/ghcb-exit.js';
import { ghcbAddress, requestAddress, transferAddress } from './layout.js';

/**
 * The guest's driver of the boot device. Everything that it gives comes from the host, who may answer anything and
 * change shared memory at any time: answers are copied once, then examined, and sizes have limits.
 */
export interface BootDevice {
  /** Bytes of memory that the host says the guest has, from guest address 0. */
  readonly memorySize: number;
  /** Memory that is shared with the device from now on. */
  readonly window: LaunchArea;
  /** The whole item, or undefined when the host has none. @throws MalformedError for an answer that makes no sense */
  read(item: BootItem, largest: number): Promise<Uint8Array | undefined>;
  /** Prints a line on the console, which the host reads. */
  print(line: string): Promise<void>;
  /** Tells the host that the guest has booted. */
  done(): Promise<void>;
}

const pageSize = 0x1000;
const longestLine = pageSize;

/**
 * Prepares the pages that are shared with the host.
 * @param share makes memory shared; under SEV-SNP the host has to be asked for that
 * @throws MalformedError for an answer that makes no sense
 */
export async function openBootDevice(
  view: GuestView,
  share: (area: LaunchArea) => Promise<void> = async () => undefined,
): Promise<BootDevice> {
  async function ask(
    operation: BootOperation,
    rest: { item?: BootItem; offset?: number; length?: number; address?: bigint },
  ) {
    await view.writeShared(requestAddress, bootRequest.build({ operation, ...rest }));
    await exitToDevice(view);
    const { status, result } = bootRequest.parse(await view.readShared(requestAddress, bootRequest.size));
    return { status, result };
  }

  async function sizeOf(item: BootItem, largest: number): Promise<number | undefined> {
    const { status, result } = await ask('SIZE', { item });
    if (status === 'NO_SUCH_ITEM') return undefined;
    if (status !== 'OK') refuse('status', 'OK or NO_SUCH_ITEM', status);
    if (result > largest) refuse('result', `at most ${largest} bytes of ${item}`, `${result} bytes`);
    return result;
  }

  await share({ base: requestAddress, size: pageSize });
  const memorySize = (await sizeOf('MEMORY', 2 ** 32 - 1)) ?? 0;
  const room = Math.floor((memorySize - transferAddress) / pageSize) * pageSize;
  const window = Math.min(bootRequestLimit, room);
  if (window < pageSize)
    refuse('result', `memory beyond 0x${(transferAddress + pageSize).toString(16)}`, `${memorySize} bytes`);
  await share({ base: transferAddress, size: window });

  return {
    memorySize,
    window: { base: transferAddress, size: window },
    async read(item, largest) {
      const size = await sizeOf(item, largest);
      if (size === undefined) return undefined;
      const whole = new Uint8Array(size);
      for (let offset = 0; offset < size; offset += window) {
        const length = Math.min(window, size - offset);
        const { status, result } = await ask('READ', {
          item,
          offset,
          length,
          address: BigInt(transferAddress),
        });
        if (status !== 'OK' || result !== length)
          refuse('result', `${length} bytes of ${item}`, `${status}, ${result}`);
        whole.set(await view.readShared(transferAddress, length), offset);
      }
      return whole;
    },
    async print(line) {
      const text = new TextEncoder().encode(line).subarray(0, longestLine);
      await view.writeShared(transferAddress, text);
      await ask('PRINT', { length: text.length, address: BigInt(transferAddress) });
    },
    async done() {
      await ask('DONE', {});
    },
  };
}

/** Writes the request's address to the device's port: an OUT, which with SEV-ES goes through the GHCB. */
async function exitToDevice(view: GuestView): Promise<void> {
  if (!view.encryptedState) {
    await view.out(bootDevicePort, requestAddress);
    return;
  }
  await callHost(view, ghcbAddress, {
    exitCode: ghcbExitCodes.IOIO,
    exitInfo1: bootDeviceExitInformation,
    rax: BigInt(requestAddress),
  });
}

function refuse(field: string, expected: string, found: string): never {
  throw new MalformedError({
    structure: bootRequest.name,
    field,
    offset: bootRequest.offsetOf('status'),
    expected,
    found,
  });
}

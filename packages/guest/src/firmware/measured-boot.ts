import type { GuestView } from '@vouchsafe/firmware/guest-view';
import {
  type BootHashes,
  digest,
  equalBytes,
  hashesTable,
  type LaunchArea,
  MalformedError,
  parseHashesTable,
  toHex,
  VouchsafeError,
} from '@vouchsafe/sev';
import type { BootDevice } from './boot-device.js';

/** What the host gave to boot, after it was compared with what was measured. */
export interface MeasuredFiles {
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  readonly commandLine: string;
}

/** The host offers something else to boot than what was measured. OVMF's blob verifier stops the boot here. */
export class BootRefusedError extends VouchsafeError {
  readonly code = 'boot-refused';
  readonly item: 'kernel' | 'initrd' | 'command line' | 'hashes table';

  constructor(item: BootRefusedError['item'], expected: string, found: string) {
    super(`boot refused: ${item}: expected ${expected}, found ${found}`, {
      hint: 'launch with kernel hashes on, and give the machine the files that were measured',
    });
    this.item = item;
  }
}

export interface MeasuredBootOptions {
  /** Where the firmware's footer says that the hashes table is. */
  readonly area: LaunchArea | undefined;
  /** Largest kernel or initrd that is accepted, in bytes: 256 MiB. */
  readonly largestFile?: number;
}

/**
 * Fetches kernel, initrd and command line from the host into memory of the guest's own, and compares the copies with
 * the hashes that the launch put into encrypted memory and measured. Without a kernel and without hashes there is
 * nothing to boot directly, and the answer is undefined.
 * @throws BootRefusedError when a file is not the measured one, or a kernel comes without measured hashes
 * @throws MalformedError for answers of the host that make no sense
 */
export async function fetchMeasuredFiles(
  view: Pick<GuestView, 'readPrivate'>,
  device: BootDevice,
  { area, largestFile = 256 * 1024 * 1024 }: MeasuredBootOptions,
): Promise<MeasuredFiles | undefined> {
  const hashes = await readHashes(view, area);
  const kernel = await device.read('KERNEL', largestFile);
  if (hashes === undefined) {
    if (kernel === undefined) return undefined;
    throw new BootRefusedError('hashes table', 'measured hashes of what is booted', 'a kernel without them');
  }
  const initrd = await device.read('INITRD', largestFile);
  const commandLine = (await device.read('COMMAND_LINE', 0x1_0000)) ?? new Uint8Array();
  const terminated = new Uint8Array(commandLine.length + 1);
  terminated.set(commandLine);
  await requireMeasured('kernel', kernel ?? new Uint8Array(), hashes.kernel);
  await requireMeasured('initrd', initrd ?? new Uint8Array(), hashes.initrd);
  await requireMeasured('command line', terminated, hashes.commandLine);
  return {
    kernel: kernel ?? new Uint8Array(),
    initrd: initrd ?? new Uint8Array(),
    commandLine: new TextDecoder().decode(commandLine),
  };
}

/** Memory that the launch did not fill reads as noise: then there are no hashes. */
async function readHashes(
  view: Pick<GuestView, 'readPrivate'>,
  area: LaunchArea | undefined,
): Promise<BootHashes | undefined> {
  if (area === undefined || area.size < hashesTable.size) return undefined;
  try {
    return parseHashesTable(await view.readPrivate(area.base, hashesTable.size));
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}

async function requireMeasured(
  item: BootRefusedError['item'],
  bytes: Uint8Array,
  measured: Uint8Array,
): Promise<void> {
  const found = await digest('sha256', bytes);
  if (equalBytes(found, measured)) return;
  throw new BootRefusedError(
    item,
    `SHA-256 ${toHex(measured)}`,
    `SHA-256 ${toHex(found)} of ${bytes.length} bytes`,
  );
}

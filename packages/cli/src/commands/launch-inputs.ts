import { InvalidArgumentError, parseFirmwareFooter } from '@vouchsafe/sev';
import { readEncoded, readInput } from '../frame/files.js';
import type { Io } from '../frame/io.js';

/** What is read from files for computing launch digests; several commands share it. */

export interface BootFiles {
  readonly kernel?: string | undefined;
  readonly initrd?: string | undefined;
  readonly commandLine?: string | undefined;
}

/** What a measured direct boot loads, read; `append` is the command line's name in launch digests. */
export interface BootInputs {
  readonly kernel?: Uint8Array;
  readonly initrd?: Uint8Array;
  readonly append?: string;
}

/** Kernel, initrd and command line; a part that only makes sense with a kernel is refused without one. */
export async function readBootFiles(
  files: BootFiles,
  names: { initrd: string; commandLine: string },
  io: Io,
): Promise<BootInputs> {
  const { kernel, initrd, commandLine } = files;
  if (kernel === undefined) {
    const useless =
      initrd !== undefined ? names.initrd : commandLine !== undefined ? names.commandLine : undefined;
    if (useless !== undefined) {
      throw new InvalidArgumentError(useless, 'it is measured with a kernel only', {
        hint: 'give --kernel as well',
      });
    }
    return {};
  }
  return {
    kernel: await readInput(kernel, 'kernel', io),
    ...(initrd === undefined ? {} : { initrd: await readInput(initrd, 'initrd', io) }),
    ...(commandLine === undefined ? {} : { append: commandLine }),
  };
}

/** A firmware image: any bytes are an image to SEV, but an empty file is a mistake. */
export async function readFirmware(path: string, io: Io): Promise<Uint8Array> {
  const firmware = await readInput(path, 'firmware image', io);
  if (firmware.length === 0) throw new InvalidArgumentError('firmware image', `${path} is empty`);
  return firmware;
}

const vmsaSize = 4096;

export function readVmsa(path: string, io: Io): Promise<Uint8Array> {
  return readEncoded(path, 'VMSA page', io, [vmsaSize]);
}

/** The reset address of application CPUs; needed as soon as there is a second CPU. */
export function resetAddressOf(firmware: Uint8Array): number | undefined {
  return parseFirmwareFooter(firmware).resetAddress;
}

import { bytesField, guidField, reserved, u16 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';
import { digest } from '../crypto/index.js';
import { InvalidArgumentError } from '../errors.js';

const source = 'qemu target/i386/sev.c, SevHashTable; edk2 OvmfPkg/AmdSev/BlobVerifierLibSevHashes';

const entrySize = 50;

const entryGuid = (offset: number, guid: string) => guidField(offset, 'kind of the entry', { equals: guid });
const entryLength = (offset: number) =>
  u16(offset, 'length of the entry', { equals: entrySize, unit: 'bytes' });

/** What QEMU puts into guest memory, and so into the measurement, for a kernel that it boots directly. */
export const hashesTable = structure(
  { name: 'hashes table', size: 176, source },
  {
    guid: guidField(0, 'kind of the table', { equals: '9438d606-4f22-4cc9-b479-a793d411fd21' }),
    length: u16(16, 'length without the padding', { equals: 168, unit: 'bytes' }),
    commandLineGuid: entryGuid(18, '97d02dd8-bd20-4c94-aa78-e7714d36ab2a'),
    commandLineLength: entryLength(34),
    commandLine: bytesField(36, 32, 'SHA-256 of the command line and one NUL byte'),
    initrdGuid: entryGuid(68, '44baf731-3a2f-4bd7-9af1-41e29169781d'),
    initrdLength: entryLength(84),
    initrd: bytesField(86, 32, 'SHA-256 of the initial file system, or of nothing'),
    kernelGuid: entryGuid(118, '4de79437-abd2-427f-b835-d5b172d2045b'),
    kernelLength: entryLength(134),
    kernel: bytesField(136, 32, 'SHA-256 of the kernel'),
    padding: reserved(168, 8),
  },
);

export interface BootFiles {
  /** The whole file, as QEMU loads it. */
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array | undefined;
  /** Exactly as given to the kernel: white space counts. */
  readonly commandLine?: string | undefined;
}

/**
 * The hashes table of a direct kernel boot, 176 bytes.
 * @throws InvalidArgumentError when the command line contains a NUL
 */
export async function buildHashesTable(files: BootFiles): Promise<Uint8Array> {
  const { kernel, initrd = new Uint8Array(), commandLine = '' } = files;
  if (commandLine.includes('\0')) throw new InvalidArgumentError('command line', 'it must not contain a NUL');
  return hashesTable.build({
    commandLine: await digest('sha256', new TextEncoder().encode(`${commandLine}\0`)),
    initrd: await digest('sha256', initrd),
    kernel: await digest('sha256', kernel),
  });
}

/** SHA-256 of each file, 32 bytes. */
export interface BootHashes {
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  readonly commandLine: Uint8Array;
}

/**
 * Reads a hashes table.
 * @param bytes 176 bytes
 * @throws MalformedError for anything but the three entries in QEMU's order with zero padding
 */
export function parseHashesTable(bytes: Uint8Array): BootHashes {
  const { kernel, initrd, commandLine } = hashesTable.parse(bytes);
  return { kernel, initrd, commandLine };
}

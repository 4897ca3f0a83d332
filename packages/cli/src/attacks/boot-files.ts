import { buildGuestFirmware } from '@vouchsafe/guest';
import {
  buildHashesTable,
  concat,
  equalBytes,
  firmwareFooterGuids,
  guidToBytes,
  hashesTable,
} from '@vouchsafe/sev';
import { flipped } from './interfering-host.js';
import { images } from './sev/world.js';

/** What a host does with the files that a machine boots, and with what is measured of them. */

const { kernel, initrd, commandLine } = images;

/** Other files than the owner's, which the host has measured as they are. */
export const otherFiles = [
  {
    id: 'appended-initrd',
    title:
      'The host appends an archive of its own to the initrd, which the kernel would unpack over the owner’s',
    directBoot: {
      kernel,
      initrd: concat(initrd, new TextEncoder().encode('070701: one more file')),
      commandLine,
    },
  },
  {
    id: 'exchanged-kernel-and-initrd',
    title: 'The host hands over the initrd as the kernel, and the kernel as the initrd',
    directBoot: { kernel: initrd, initrd: kernel, commandLine },
  },
] as const;

/** The project's firmware with nothing that says where hashes go: the same code, and none of them is looked at. */
export function firmwareWithoutHashArea(): Uint8Array {
  const image = buildGuestFirmware();
  const at = Buffer.from(image).indexOf(guidToBytes(firmwareFooterGuids.hashTableArea));
  return flipped(image, at);
}

/** Alters the hash of the kernel in what is written, where the owner's hashes table is in it. */
export async function alteredHashes(): Promise<(bytes: Uint8Array) => Uint8Array> {
  const table = await buildHashesTable({ kernel, initrd, commandLine });
  return (bytes) => {
    const at = Buffer.from(bytes).indexOf(table);
    return at < 0 ? bytes : flipped(bytes, at + hashesTable.offsetOf('kernel'));
  };
}

/** Changes one byte of the command line that a guest reads; what was measured of it is the owner's. */
export function otherCommandLine(bytes: Uint8Array): Uint8Array {
  const owners = new TextEncoder().encode(commandLine);
  return equalBytes(bytes, owners) ? flipped(bytes, owners.length - 1) : bytes;
}

import { access, constants, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildGuestFirmware } from '@vouchsafe/guest';

/** The files that a demo's machine boots: the project's firmware, and a real kernel and initrd where there are any. */
export interface BootFiles {
  readonly firmware: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly commandLine: string;
  /** For people: whether kernel and initrd are real. */
  readonly source: string;
}

export async function prepareBootFiles(folder: string, installed = '/boot'): Promise<BootFiles> {
  const firmware = join(folder, 'firmware.fd');
  await writeFile(firmware, buildGuestFirmware());
  const commandLine = 'console=ttyS0 root=/dev/mapper/root ro';
  const found = await findInstalled(installed);
  if (found !== undefined) {
    return { firmware, ...found, commandLine, source: `the installed ${found.kernel} and ${found.initrd}` };
  }
  const [kernel, initrd] = [join(folder, 'vmlinuz'), join(folder, 'initrd.img')];
  await writeFile(kernel, 'A kernel that is made up, because none is installed here.\n'.repeat(4096));
  await writeFile(initrd, 'An initrd that is made up, because none is installed here.\n'.repeat(4096));
  return {
    firmware,
    kernel,
    initrd,
    commandLine,
    source: 'a made-up kernel and initrd: none is installed here',
  };
}

/** The same files, but for one byte of the initrd. */
export async function changedInitrd(files: BootFiles, folder: string): Promise<BootFiles> {
  const bytes = new Uint8Array(await readFile(files.initrd));
  bytes[bytes.length >> 1]! ^= 1;
  const initrd = join(folder, 'initrd.changed');
  await writeFile(initrd, bytes);
  return { ...files, initrd };
}

/** The newest kernel of a folder that has an initrd of the same version, both readable. */
async function findInstalled(folder: string): Promise<{ kernel: string; initrd: string } | undefined> {
  const names = await readdir(folder).catch(() => []);
  const kernels = names.filter((name) => name.startsWith('vmlinuz-')).toSorted();
  for (const name of kernels.toReversed()) {
    const version = name.slice('vmlinuz-'.length);
    const kernel = join(folder, name);
    for (const initrd of [`initrd.img-${version}`, `initramfs-${version}.img`].map((each) =>
      join(folder, each),
    )) {
      if ((await isReadable(kernel)) && (await isReadable(initrd))) return { kernel, initrd };
    }
  }
  return undefined;
}

const isReadable = (path: string) =>
  access(path, constants.R_OK).then(
    () => true,
    () => false,
  );

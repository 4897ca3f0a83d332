import { readFile } from 'node:fs/promises';
import { calculateSnpLaunchDigest, vcpuSignatureOf } from '@vouchsafe/sev';
import type { BootFiles } from '../boot-files.js';

/** The SEV-SNP machine whose secrets an owner's broker has. */
export const brokeredMachine = {
  policy: 0x30000n,
  vcpus: 1,
  vcpuType: 'EPYC-Milan',
  /** All of it is made the guest's own before anything runs, so little is quicker. */
  memory: 2 * 1024 * 1024,
} as const;

/** How steps begin that a demo counts by. */
export const markers = {
  keyServiceAnswers: 'answers request',
  firstStart: 'starts the first machine',
  laterStarts: 'starts more machines',
} as const;

/** Firmware, kernel and initrd as bytes. */
export async function readBootImages({ firmware, kernel, initrd }: Omit<BootFiles, 'source'>) {
  const bytes = async (path: string) => new Uint8Array(await readFile(path));
  return { firmware: await bytes(firmware), kernel: await bytes(kernel), initrd: await bytes(initrd) };
}

/** The launch digest that the owner expects, from its own copies of the files: 48 bytes. */
export async function expectedDigest(files: BootFiles, commandLine: string): Promise<Uint8Array> {
  const { vcpus, vcpuType } = brokeredMachine;
  const { digest } = await calculateSnpLaunchDigest({
    ...(await readBootImages(files)),
    append: commandLine,
    vcpus,
    vcpuSignature: vcpuSignatureOf(vcpuType),
  });
  return digest;
}

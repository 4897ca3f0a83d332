import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import {
  buildHashesTable,
  buildResetVmsa,
  hashesPage,
  InvalidArgumentError,
  placeOfHashesTable,
  type SnpFirmware,
  UnavailableError,
} from '@vouchsafe/sev';
import { createGuestMemory, type GuestMemory } from '../../launch/guest-memory.js';
import type { SnpLaunchConfiguration } from '../../launch/launcher.js';
import { largePage, smallPage } from '../pages.js';

/** What a launch prepares before anything is asked of the processor. */

const defaultMemory = 32 * 1024 * 1024;

/** Memory whose larger pages can be larger pages of the reverse map table. */
export function allocateGuestMemory(
  machine: HostMachine,
  { memory = defaultMemory, firmware }: SnpLaunchConfiguration,
): GuestMemory {
  return createGuestMemory(machine, memory, firmware.length, memory < largePage ? smallPage : largePage);
}

/** The page of the hashes of kernel, initrd and command line; undefined without a kernel. */
export async function kernelHashesPage(
  { directBoot }: SnpLaunchConfiguration,
  { footer, sections }: SnpFirmware,
): Promise<Uint8Array | undefined> {
  if (directBoot === undefined) return undefined;
  try {
    return hashesPage(await buildHashesTable(directBoot), placeOfHashesTable(footer, sections));
  } catch (error) {
    if (!(error instanceof InvalidArgumentError) || error.argument !== 'kernel') throw error;
    throw new UnavailableError(
      'firmware',
      'its metadata reserves no page for the hashes of a directly booted kernel',
      {
        hint: 'use a firmware that checks them (OVMF built from AmdSevX64.dsc), or launch without a kernel',
        cause: error,
      },
    );
  }
}

/** The first state of each vCPU, the boot CPU's first. */
export function resetVmsas(
  { vcpus, vcpuSignature, vmsaFpu = 'set', guestFeatures = 1n }: SnpLaunchConfiguration,
  { footer }: SnpFirmware,
): Uint8Array[] {
  const common = { vcpuSignature, fpu: vmsaFpu, sevFeatures: guestFeatures };
  const boot = buildResetVmsa({ ...common, cpu: 'boot' });
  if (vcpus === 1) return [boot];
  const { resetAddress } = footer;
  const application = buildResetVmsa({ ...common, cpu: 'application', resetAddress });
  return [boot, ...Array.from({ length: vcpus - 1 }, () => application)];
}

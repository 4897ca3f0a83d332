import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { inLaunchOrder, runOfSection, snpFirmware, vmmProfiles } from '@vouchsafe/sev';
import { requireSnpLaunchable } from '../../launch/configuration.js';
import type { SnpLaunchConfiguration } from '../../launch/launcher.js';
import { allocateHostMemory } from '../../platform/host-memory.js';
import { undoList } from '../../undo-list.js';
import { type GuestPageOwner, guestPageOwner } from '../guest-pages.js';
import { initialiseSnpWhenNeeded } from '../initialise.js';
import { smallPage } from '../pages.js';
import { type SoftwareSnpMachine, softwareSnpMachine } from '../software-machine.js';
import { allocateGuestMemory, kernelHashesPage, resetVmsas } from './launch-inputs.js';
import {
  activate,
  gctxCreate,
  information,
  launchFinish,
  launchStart,
  launchUpdate,
  launchUpdateCpuid,
  launchUpdateVmsa,
} from './launch-steps.js';

/**
 * Loads a guest, step by step as a hypervisor drives it: what is launched, and in which order, is what QEMU and KVM do. It
 * is not measured to its end, and does not run, before the first `resume`.
 * @throws as `SnpLauncher.launchSnp` does
 */
export async function launchSnp(
  machine: HostMachine,
  given: SnpLaunchConfiguration,
): Promise<SoftwareSnpMachine> {
  const configuration = requireSnpLaunchable(given);
  const image = snpFirmware(configuration.firmware);
  const vmsas = resetVmsas(configuration, image);
  const kernelHashes = await kernelHashesPage(configuration, image);
  await initialiseSnpWhenNeeded(machine);

  let pages: GuestPageOwner | undefined;
  const { undoLater, undo } = undoList();
  try {
    const memory = allocateGuestMemory(machine, configuration);
    undoLater(memory.free);
    const vmsaAddresses = vmsas.map(() => {
      const { address, free } = allocateHostMemory(machine, smallPage);
      undoLater(free);
      return address;
    });
    // Runs after the guest is decommissioned, when nothing of it can be in use any more.
    undoLater(() => pages?.releaseAll());

    const gctxAddress = await gctxCreate(machine, undoLater);
    await launchStart(machine, gctxAddress, configuration);
    const asid = await activate(machine, gctxAddress);
    pages = guestPageOwner(machine, memory, asid);

    const guest = { machine, memory, pages, gctxAddress };
    await launchUpdate(guest, image.run);
    for (const section of inLaunchOrder(image.sections, vmmProfiles.QEMU)) {
      const run = runOfSection(section, vmmProfiles.QEMU, kernelHashes);
      if (run.type === 'CPUID') await launchUpdateCpuid(guest, run.gpa, configuration);
      else await launchUpdate(guest, run);
    }

    return softwareSnpMachine({
      machine,
      memory,
      pages,
      asid,
      gctxAddress,
      vmsaAddresses,
      configuration,
      information: () => information(machine, gctxAddress),
      async finish() {
        for (const [cpu, page] of vmsas.entries()) await launchUpdateVmsa(guest, vmsaAddresses[cpu]!, page);
        await launchFinish(machine, gctxAddress, configuration);
      },
      release: undo,
    });
  } catch (error) {
    await undo().catch(() => undefined);
    throw error;
  }
}

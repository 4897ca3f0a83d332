import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import {
  buildHashesTable,
  buildResetVmsa,
  type FirmwareFooter,
  hashesTable,
  parseFirmwareFooter,
  UnavailableError,
} from '@vouchsafe/sev';
import { allocateHostMemory } from '../platform/host-memory.js';
import { initialiseWhenNeeded, withMailbox } from '../platform/mailbox.js';
import { launchSnp } from '../snp/launch/launch.js';
import type { SoftwareSnpMachine } from '../snp/software-machine.js';
import { undoList } from '../undo-list.js';
import { activate, deactivate } from './address-space-ids.js';
import { requireLaunchable } from './configuration.js';
import { createGuestMemory, firmwareAddress } from './guest-memory.js';
import {
  attestation,
  decommission,
  information,
  launchFinish,
  launchMeasure,
  launchSecret,
  launchStart,
  launchUpdateData,
  launchUpdateVmsa,
} from './launch-steps.js';
import type { LaunchConfiguration, Launcher, SnpLaunchConfiguration, SnpLauncher } from './launcher.js';
import { type SoftwareVirtualMachine, softwareVirtualMachine } from './software-virtual-machine.js';

/**
 * The launch of SEV API 0.24, chapter 6 ("Guest launch"), step by step as a hypervisor drives it, over the mailbox of
 * the software machine. What is measured, and in which order, is what QEMU does.
 */

export interface SoftwareLauncher extends Launcher, SnpLauncher {
  readonly backend: 'software';
  launch(configuration: LaunchConfiguration): Promise<SoftwareVirtualMachine>;
  launchSnp(configuration: SnpLaunchConfiguration): Promise<SoftwareSnpMachine>;
}

const defaultMemory = 32 * 1024 * 1024;

export function softwareLauncher(machine: HostMachine): SoftwareLauncher {
  return {
    backend: 'software',
    launch: async (configuration) => launch(machine, requireLaunchable(configuration)),
    launchSnp: (configuration) => launchSnp(machine, configuration),
  };
}

async function launch(
  machine: HostMachine,
  configuration: LaunchConfiguration,
): Promise<SoftwareVirtualMachine> {
  const { mode, firmware, directBoot } = configuration;
  const footer = parseFirmwareFooter(firmware);
  await withMailbox(machine, (mailbox) => initialiseWhenNeeded(machine, mailbox));

  const { undoLater, undo } = undoList();
  try {
    const memory = createGuestMemory(machine, configuration.memory ?? defaultMemory, firmware.length);
    undoLater(memory.free);
    const saveAreas = mode === 'sev-es' ? resetVmsas(configuration, footer).map(allocateSaveArea) : [];

    const handle = await launchStart(machine, configuration);
    undoLater(() => decommission(machine, handle));

    const asid = await withMailbox(machine, (mailbox) => activate(machine, mailbox, handle, mode));
    undoLater(() => deactivate(machine, handle));

    await launchUpdateData(machine, memory, handle, firmwareAddress(firmware.length), firmware);
    if (directBoot !== undefined) {
      const table = await buildHashesTable(directBoot);
      await launchUpdateData(machine, memory, handle, hashTableAddress(footer), table);
    }
    for (const { address, page } of saveAreas) await launchUpdateVmsa(machine, handle, address, page);

    const measurement = await launchMeasure(machine, handle);

    return softwareVirtualMachine({
      machine,
      memory,
      handle,
      asid,
      vmsaAddresses: saveAreas.map(({ address }) => address),
      directBoot,
      measurement,
      information: () => information(machine, handle),
      injectSecret: ({ header, payload, guestAddress = secretAddress(footer) }) =>
        launchSecret(
          machine,
          handle,
          header,
          payload,
          memory.requireSystemAddress(guestAddress, payload.length),
        ),
      attestationReport: (mnonce) => attestation(machine, handle, mnonce),
      finish: () => launchFinish(machine, handle),
      release: undo,
    });
  } catch (error) {
    await undo().catch(() => undefined);
    throw error;
  }

  function allocateSaveArea(page: Uint8Array) {
    const { address, free } = allocateHostMemory(machine, page.length);
    undoLater(free);
    return { address, page };
  }
}

/** The first state of each vCPU, the boot CPU's first. */
function resetVmsas(
  { vcpus, vcpuSignature, vmsaFpu = 'set' }: LaunchConfiguration,
  footer: FirmwareFooter,
): Uint8Array[] {
  const { resetAddress } = footer;
  const common = { vcpuSignature, fpu: vmsaFpu, ...(resetAddress === undefined ? {} : { resetAddress }) };
  return Array.from({ length: vcpus }, (_, index) =>
    buildResetVmsa({ ...common, cpu: index === 0 ? 'boot' : 'application' }),
  );
}

function hashTableAddress({ hashTableArea }: FirmwareFooter): number {
  if (hashTableArea !== undefined && hashTableArea.size >= hashesTable.size) return hashTableArea.base;
  throw new UnavailableError(
    'firmware',
    'its footer reserves no room for the hashes of a directly booted kernel',
    {
      hint: 'use a firmware that checks them (OVMF built from AmdSevX64.dsc), or launch without a kernel',
    },
  );
}

function secretAddress({ secretArea }: FirmwareFooter): number {
  if (secretArea !== undefined) return secretArea.base;
  throw new UnavailableError('firmware', 'its footer reserves no area for secrets', {
    hint: 'give the guest address yourself, or use a firmware with a secret area (OVMF built from AmdSevX64.dsc)',
  });
}

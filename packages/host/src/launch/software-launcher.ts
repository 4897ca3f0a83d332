import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import {
  attestationBuffer,
  attestationReport,
  buildHashesTable,
  buildResetVmsa,
  decommissionBuffer,
  type FirmwareFooter,
  guestStateName,
  guestStatusBuffer,
  hashesTable,
  launchFinishBuffer,
  launchMeasureBuffer,
  launchSecretBuffer,
  launchStartBuffer,
  launchUpdateDataBuffer,
  launchUpdateVmsaBuffer,
  parseFirmwareFooter,
  platformStatus,
  qmpGuestStates,
  UnavailableError,
} from '@vouchsafe/sev';
import { allocateHostMemory } from '../platform/host-memory.js';
import { initialiseWhenNeeded, readPlatformStatus, withMailbox } from '../platform/mailbox.js';
import { launchSnp } from '../snp/launch.js';
import type { SoftwareSnpMachine } from '../snp/software-machine.js';
import { undoList } from '../undo-list.js';
import { activate, deactivate } from './address-space-ids.js';
import { requireLaunchable } from './configuration.js';
import { createGuestMemory, firmwareAddress, type GuestMemory } from './guest-memory.js';
import type {
  LaunchConfiguration,
  Launcher,
  SevInformation,
  SnpLaunchConfiguration,
  SnpLauncher,
} from './launcher.js';
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

const measurementSize = 48;
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

/** LAUNCH_START: the processor makes the guest's memory key and opens the owner's channel. @returns the handle */
function launchStart(machine: HostMachine, { policy, channel }: LaunchConfiguration): Promise<number> {
  return withMailbox(machine, async ({ place, run }) => {
    if (channel === undefined)
      return handleIn(await run('LAUNCH_START', launchStartBuffer.build({ policy })));
    const certificate = await place(channel.godhCertificate);
    const session = await place(channel.session);
    const buffer = launchStartBuffer.build({
      policy,
      certificateAddress: certificate.address,
      certificateLength: certificate.length,
      sessionAddress: session.address,
      sessionLength: session.length,
    });
    return handleIn(await run('LAUNCH_START', buffer));
  });
}

const handleIn = (buffer: Uint8Array) => launchStartBuffer.parse(buffer).handle;

/** LAUNCH_UPDATE_DATA: puts bytes into guest memory, where the processor measures and encrypts them in place. */
async function launchUpdateData(
  machine: HostMachine,
  memory: GuestMemory,
  handle: number,
  guestAddress: number,
  bytes: Uint8Array,
): Promise<void> {
  const address = memory.requireSystemAddress(guestAddress, bytes.length);
  await machine.memory.write(address, bytes);
  const buffer = launchUpdateDataBuffer.build({ handle, address: BigInt(address), length: bytes.length });
  await withMailbox(machine, ({ run }) => run('LAUNCH_UPDATE_DATA', buffer));
}

/** LAUNCH_UPDATE_VMSA: the first state of one vCPU, measured as given, then sealed with its integrity value. */
async function launchUpdateVmsa(
  machine: HostMachine,
  handle: number,
  address: number,
  page: Uint8Array,
): Promise<void> {
  await machine.memory.write(address, page);
  const buffer = launchUpdateVmsaBuffer.build({ handle, address: BigInt(address), length: page.length });
  await withMailbox(machine, ({ run }) => run('LAUNCH_UPDATE_VMSA', buffer));
}

/** LAUNCH_MEASURE: ends measuring. @returns measurement and nonce, 48 bytes */
function launchMeasure(machine: HostMachine, handle: number): Promise<Uint8Array> {
  return withMailbox(machine, async ({ place, run }) => {
    const { address, length, read } = await place(new Uint8Array(measurementSize));
    await run('LAUNCH_MEASURE', launchMeasureBuffer.build({ handle, address, length }));
    return read();
  });
}

/** LAUNCH_SECRET: the processor opens the owner's packet and encrypts what was in it into guest memory. */
function launchSecret(
  machine: HostMachine,
  handle: number,
  header: Uint8Array,
  payload: Uint8Array,
  systemAddress: number,
): Promise<void> {
  return withMailbox(machine, async ({ place, run }) => {
    const placedHeader = await place(header);
    const transport = await place(payload);
    const buffer = launchSecretBuffer.build({
      handle,
      headerAddress: placedHeader.address,
      headerLength: header.length,
      guestAddress: BigInt(systemAddress),
      guestLength: payload.length,
      transportAddress: transport.address,
      transportLength: payload.length,
    });
    await run('LAUNCH_SECRET', buffer);
  });
}

/** LAUNCH_FINISH: the processor forgets the owner's channel, and the guest may be entered. */
async function launchFinish(machine: HostMachine, handle: number): Promise<void> {
  await withMailbox(machine, ({ run }) => run('LAUNCH_FINISH', launchFinishBuffer.build({ handle })));
}

/** ATTESTATION: digest and policy of the launch, signed by the PEK. */
function attestation(machine: HostMachine, handle: number, mnonce: Uint8Array): Promise<Uint8Array> {
  return withMailbox(machine, async ({ place, run }) => {
    const { address, length, read } = await place(new Uint8Array(attestationReport.size));
    await run('ATTESTATION', attestationBuffer.build({ handle, address, mnonce, length }));
    return read();
  });
}

/** DECOMMISSION: the processor forgets the guest and its memory key. The guest has been deactivated. */
async function decommission(machine: HostMachine, handle: number): Promise<void> {
  await withMailbox(machine, ({ run }) => run('DECOMMISSION', decommissionBuffer.build({ handle })));
}

/** PLATFORM_STATUS and GUEST_STATUS, as query-sev puts them together. */
function information(machine: HostMachine, handle: number): Promise<SevInformation> {
  return withMailbox(machine, async (mailbox) => {
    const platform = platformStatus.parse(await readPlatformStatus(mailbox));
    const guest = guestStatusBuffer.parse(
      await mailbox.run('GUEST_STATUS', guestStatusBuffer.build({ handle })),
    );
    const state = guestStateName(guest.state) ?? 'UNINIT';
    return {
      apiMajor: platform.apiMajor,
      apiMinor: platform.apiMinor,
      buildId: platform.config.build,
      policy: guest.policy,
      state: state === 'SENT' ? 'uninit' : qmpGuestStates[state],
      handle,
    };
  });
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

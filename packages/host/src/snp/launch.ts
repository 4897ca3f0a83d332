import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import {
  inLaunchOrder,
  runOfSection,
  type SnpPageRun,
  type SnpPageType,
  snpActivateBuffer,
  snpFirmware,
  snpGctxBuffer,
  snpGuestStatus,
  snpGuestStatusBuffer,
  snpLaunchFinishBuffer,
  snpLaunchStartBuffer,
  snpLaunchUpdateBuffer,
  snpPageTypes,
  snpPlatformStatus,
  vmmProfiles,
  vmsaGpa,
} from '@vouchsafe/sev';
import { takeFirstAsid } from '../launch/address-space-ids.js';
import { requireSnpLaunchable } from '../launch/configuration.js';
import type { GuestMemory } from '../launch/guest-memory.js';
import type { SnpInformation, SnpLaunchConfiguration } from '../launch/launcher.js';
import { hasAuthorKey } from '../launch/snp-owner-parts.js';
import { FirmwareCommandError } from '../platform/firmware-error.js';
import { allocateHostMemory } from '../platform/host-memory.js';
import { withMailbox } from '../platform/mailbox.js';
import { undoList } from '../undo-list.js';
import { cpuidDifferences, cpuidPageOf } from './cpuid-values.js';
import { type GuestPageOwner, guestPageOwner } from './guest-pages.js';
import { flush, initialiseSnpWhenNeeded, readSnpPlatformStatus, withResultPage } from './initialise.js';
import { allocateGuestMemory, kernelHashesPage, resetVmsas } from './launch-inputs.js';
import { allocateFirmwarePage, freeFirmwarePage, smallPage } from './pages.js';
import { type SoftwareSnpMachine, softwareSnpMachine } from './software-machine.js';

/**
 * The launch of a SEV-SNP guest (AMD 56860, chapter 6, "Launching a guest"), step by step as a hypervisor drives it, over
 * the mailbox of the software machine. What is launched, and in which order, is what QEMU and KVM do.
 */

/** Loads a guest. It is not measured to its end, and does not run, before the first `resume`. */
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

interface LaunchingGuest {
  readonly machine: HostMachine;
  readonly memory: GuestMemory;
  readonly pages: GuestPageOwner;
  readonly gctxAddress: bigint;
}

/** SNP_GCTX_CREATE: a page of the firmware's becomes the guest's context. @returns its address, the guest's name */
async function gctxCreate(machine: HostMachine, undoLater: (step: () => unknown) => void): Promise<bigint> {
  const page = await allocateFirmwarePage(machine);
  undoLater(() => freeFirmwarePage(machine, page));
  const gctxAddress = BigInt(page.address);
  await withMailbox(machine, ({ run }) => run('SNP_GCTX_CREATE', snpGctxBuffer.build({ gctxAddress })));
  undoLater(() => decommission(machine, gctxAddress));
  return gctxAddress;
}

/** SNP_LAUNCH_START: the processor draws the guest's keys, and from here on holds the host to its policy. */
async function launchStart(
  machine: HostMachine,
  gctxAddress: bigint,
  { policy, guestVisibleWorkarounds: gosvw }: SnpLaunchConfiguration,
): Promise<void> {
  const buffer = snpLaunchStartBuffer.build({
    gctxAddress,
    policy,
    ...(gosvw === undefined ? {} : { gosvw }),
  });
  await withMailbox(machine, ({ run }) => run('SNP_LAUNCH_START', buffer));
}

/** SNP_ACTIVATE: the guest's key is loaded for an address space id. @returns the id, one of those of SEV-ES */
function activate(machine: HostMachine, gctxAddress: bigint): Promise<number> {
  return withMailbox(machine, (mailbox) =>
    takeFirstAsid(machine, {
      first: 1,
      last: machine.capabilities.minimumSevAsid - 1,
      kind: 'SEV-ES and SEV-SNP',
      activate: (asid) => mailbox.run('SNP_ACTIVATE', snpActivateBuffer.build({ gctxAddress, asid })),
      flush: () => flush(machine, mailbox),
    }),
  );
}

/** SNP_LAUNCH_UPDATE of pages that follow each other: each is put in place, given to the guest, measured and encrypted. */
async function launchUpdate(guest: LaunchingGuest, run: SnpPageRun): Promise<void> {
  const count = 'data' in run ? run.data.length / smallPage : run.pages;
  for (let page = 0; page < count; page++) {
    const guestAddress = run.gpa + page * smallPage;
    const contents =
      'data' in run ? run.data.subarray(page * smallPage, (page + 1) * smallPage) : new Uint8Array(smallPage);
    const address = guest.memory.requireSystemAddress(guestAddress, smallPage);
    await launchUpdatePage(guest, { type: run.type, address, guestAddress, contents });
  }
}

/** The first state of one vCPU, in a page of the host's; KVM has all of them measured at the same guest address. */
function launchUpdateVmsa(guest: LaunchingGuest, address: number, contents: Uint8Array): Promise<void> {
  return launchUpdatePage(guest, { type: 'VMSA', address, guestAddress: vmsaGpa, contents });
}

/** The host's values of CPUID, which the processor refuses where they promise too much, and says what it would accept. */
async function launchUpdateCpuid(
  guest: LaunchingGuest,
  guestAddress: number,
  { vcpuSignature }: SnpLaunchConfiguration,
): Promise<void> {
  const { machine, memory } = guest;
  const contents = cpuidPageOf(machine, vcpuSignature);
  const address = memory.requireSystemAddress(guestAddress, smallPage);
  try {
    await launchUpdatePage(guest, { type: 'CPUID', address, guestAddress, contents });
  } catch (error) {
    if (!(error instanceof FirmwareCommandError) || error.statusName !== 'INVALID_PARAM') throw error;
    const differences = cpuidDifferences(contents, await machine.memory.read(address, smallPage));
    throw new FirmwareCommandError(error.command, error.status, {
      hint: `the processor accepts other values of CPUID: ${differences}`,
      cause: error,
    });
  }
}

interface LaunchPage {
  readonly type: SnpPageType;
  readonly address: number;
  readonly guestAddress: number;
  readonly contents: Uint8Array;
}

async function launchUpdatePage(
  { machine, pages, gctxAddress }: LaunchingGuest,
  { type, address, guestAddress, contents }: LaunchPage,
): Promise<void> {
  await machine.memory.write(address, contents);
  await pages.preparePage(address, guestAddress);
  const page = { large: false, type: snpPageTypes[type], imiPage: false };
  const buffer = snpLaunchUpdateBuffer.build({ gctxAddress, page, pageAddress: BigInt(address) });
  await withMailbox(machine, ({ run }) => run('SNP_LAUNCH_UPDATE', buffer));
}

/** SNP_LAUNCH_FINISH: the processor compares the guest with what its owner signed, and lets it run. */
function launchFinish(
  machine: HostMachine,
  gctxAddress: bigint,
  { idBlock, hostData, vcekDisabled = false }: SnpLaunchConfiguration,
): Promise<void> {
  return withMailbox(machine, async ({ place, run }) => {
    const signed = idBlock && {
      idBlockAddress: (await place(idBlock.block)).address,
      idAuthAddress: (await place(idBlock.authentication)).address,
    };
    const buffer = snpLaunchFinishBuffer.build({
      gctxAddress,
      ...signed,
      flags: {
        idBlock: idBlock !== undefined,
        authorKey: idBlock !== undefined && hasAuthorKey(idBlock.authentication),
        vcekDisabled,
      },
      ...(hostData === undefined ? {} : { hostData }),
    });
    await run('SNP_LAUNCH_FINISH', buffer);
  });
}

/** SNP_DECOMMISSION: the processor forgets the guest and its keys, and its address space id is free. */
async function decommission(machine: HostMachine, gctxAddress: bigint): Promise<void> {
  await withMailbox(machine, ({ run }) => run('SNP_DECOMMISSION', snpGctxBuffer.build({ gctxAddress })));
}

/** SNP_PLATFORM_STATUS and SNP_GUEST_STATUS, as query-sev puts them together. */
async function information(machine: HostMachine, gctxAddress: bigint): Promise<SnpInformation> {
  const { apiMajor, apiMinor, build } = snpPlatformStatus.parse(await readSnpPlatformStatus(machine));
  const guest = await withResultPage(machine, async (page) => {
    const buffer = snpGuestStatusBuffer.build({ gctxAddress, statusAddress: page.address });
    await withMailbox(machine, ({ run }) => run('SNP_GUEST_STATUS', buffer));
    return snpGuestStatus.parse(await page.read(snpGuestStatus.size));
  });
  const states = { INIT: 'uninit', LAUNCH: 'launch-update', RUNNING: 'running' } as const;
  return { apiMajor, apiMinor, buildId: build, policy: guest.policy, state: states[guest.state] };
}

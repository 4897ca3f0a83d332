import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import {
  type SnpPageRun,
  type SnpPageType,
  snpActivateBuffer,
  snpGctxBuffer,
  snpGuestStatus,
  snpGuestStatusBuffer,
  snpLaunchFinishBuffer,
  snpLaunchStartBuffer,
  snpLaunchUpdateBuffer,
  snpPageTypes,
  snpPlatformStatus,
  vmsaGpa,
} from '@vouchsafe/sev';
import { takeFirstAsid } from '../../launch/address-space-ids.js';
import type { GuestMemory } from '../../launch/guest-memory.js';
import type { SnpInformation, SnpLaunchConfiguration } from '../../launch/launcher.js';
import { hasAuthorKey } from '../../launch/snp-owner-parts.js';
import { FirmwareCommandError } from '../../platform/firmware-error.js';
import { withMailbox } from '../../platform/mailbox.js';
import type { GuestPageOwner } from '../guest-pages.js';
import { flush, readSnpPlatformStatus, withResultPage } from '../initialise.js';
import { allocateFirmwarePage, freeFirmwarePage, smallPage } from '../pages.js';
import { cpuidDifferences, cpuidPageOf } from './cpuid-values.js';

/**
 * The commands that launch a SEV-SNP guest (AMD 56860, chapter 6, “Launching a guest”), in their order, over the mailbox of
 * the software machine.
 */

/** A guest between SNP_LAUNCH_START and SNP_LAUNCH_FINISH. */
export interface LaunchingGuest {
  readonly machine: HostMachine;
  readonly memory: GuestMemory;
  readonly pages: GuestPageOwner;
  readonly gctxAddress: bigint;
}

/** SNP_GCTX_CREATE: a page of the firmware's becomes the guest's context. @returns its address, the guest's name */
export async function gctxCreate(
  machine: HostMachine,
  undoLater: (step: () => unknown) => void,
): Promise<bigint> {
  const page = await allocateFirmwarePage(machine);
  undoLater(() => freeFirmwarePage(machine, page));
  const gctxAddress = BigInt(page.address);
  await withMailbox(machine, ({ run }) => run('SNP_GCTX_CREATE', snpGctxBuffer.build({ gctxAddress })));
  undoLater(() => decommission(machine, gctxAddress));
  return gctxAddress;
}

/** SNP_LAUNCH_START: the processor draws the guest's keys, and from here on holds the host to its policy. */
export async function launchStart(
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
export function activate(machine: HostMachine, gctxAddress: bigint): Promise<number> {
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
export async function launchUpdate(guest: LaunchingGuest, run: SnpPageRun): Promise<void> {
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
export function launchUpdateVmsa(
  guest: LaunchingGuest,
  address: number,
  contents: Uint8Array,
): Promise<void> {
  return launchUpdatePage(guest, { type: 'VMSA', address, guestAddress: vmsaGpa, contents });
}

/** The host's values of CPUID, which the processor refuses where they promise too much, and says what it would accept. */
export async function launchUpdateCpuid(
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
export function launchFinish(
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
export async function information(machine: HostMachine, gctxAddress: bigint): Promise<SnpInformation> {
  const { apiMajor, apiMinor, build } = snpPlatformStatus.parse(await readSnpPlatformStatus(machine));
  const guest = await withResultPage(machine, async (page) => {
    const buffer = snpGuestStatusBuffer.build({ gctxAddress, statusAddress: page.address });
    await withMailbox(machine, ({ run }) => run('SNP_GUEST_STATUS', buffer));
    return snpGuestStatus.parse(await page.read(snpGuestStatus.size));
  });
  const states = { INIT: 'uninit', LAUNCH: 'launch-update', RUNNING: 'running' } as const;
  return { apiMajor, apiMinor, buildId: build, policy: guest.policy, state: states[guest.state] };
}

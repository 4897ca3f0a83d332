import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { snpInitExBuffer, snpPlatformStatus, snpPlatformStatusBuffer } from '@vouchsafe/sev';
import { FirmwareCommandError } from '../platform/firmware-error.js';
import { allocateHostMemory } from '../platform/host-memory.js';
import { type Mailbox, withMailbox } from '../platform/mailbox.js';
import { allocateFirmwarePage, freeFirmwarePage, hasReverseMap } from './pages.js';

/** A page that the firmware writes a result to. */
export interface ResultPage {
  readonly address: bigint;
  /** The first bytes of what the firmware wrote. */
  read(length: number): Promise<Uint8Array>;
}

/**
 * Runs commands whose result goes into a page. Once there is a reverse map table, the firmware writes to pages alone that
 * are its own, and the page is taken back afterwards.
 */
export async function withResultPage<T>(
  machine: HostMachine,
  work: (page: ResultPage) => Promise<T>,
): Promise<T> {
  const isFirmwares = await hasReverseMap(machine);
  const page = isFirmwares ? await allocateFirmwarePage(machine) : allocateHostMemory(machine, 1);
  try {
    return await work({
      address: BigInt(page.address),
      read: (length) => machine.memory.read(page.address, length),
    });
  } finally {
    if (isFirmwares) await freeFirmwarePage(machine, page);
    else page.free();
  }
}

/** SNP_PLATFORM_STATUS: 32 bytes, as `snpPlatformStatus` reads them. */
export function readSnpPlatformStatus(machine: HostMachine): Promise<Uint8Array> {
  return withResultPage(machine, async (page) => {
    const buffer = snpPlatformStatusBuffer.build({ statusAddress: page.address });
    await withMailbox(machine, ({ run }) => run('SNP_PLATFORM_STATUS', buffer));
    return page.read(snpPlatformStatus.size);
  });
}

/**
 * What the kernel does before its first SEV-SNP guest: SNP_INIT_EX with a new reverse map table, and a flush, before
 * which no guest may become active.
 * @throws FirmwareCommandError
 */
export async function initialiseSnpWhenNeeded(machine: HostMachine): Promise<void> {
  const { state } = snpPlatformStatus.parse(await readSnpPlatformStatus(machine));
  if (state !== 'UNINIT') return;
  const hasTable = await hasReverseMap(machine);
  await withMailbox(machine, async (mailbox) => {
    await initialise(mailbox, !hasTable);
    await flush(machine, mailbox);
  });
}

/** A table that is in force already has pages in it: it is kept. */
async function initialise({ run }: Mailbox, initRmp: boolean): Promise<void> {
  const flags = {
    initRmp,
    listEnabled: false,
    raplDisabled: false,
    ciphertextHiding: false,
    tio: false,
  };
  try {
    await run('SNP_INIT_EX', snpInitExBuffer.build({ flags }));
  } catch (error) {
    // Someone else was quicker: it is no longer UNINIT, which is all that was wanted.
    if (!(error instanceof FirmwareCommandError) || error.statusName !== 'INVALID_PLATFORM_STATE')
      throw error;
  }
}

/** WBINVD on all cores and SNP_DF_FLUSH: address space ids that guests had can be given out again. */
export async function flush(machine: HostMachine, { run }: Mailbox): Promise<void> {
  await machine.writeBackAndInvalidate();
  await run('SNP_DF_FLUSH');
}

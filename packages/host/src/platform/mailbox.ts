import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import {
  initBuffer,
  platformStatus,
  type SevCommandName,
  type SnpCommandName,
  sevCommands,
  snpCommands,
  statusCodes,
  trustedMemorySize,
} from '@vouchsafe/sev';
import { undoList } from '../undo-list.js';
import { FirmwareCommandError } from './firmware-error.js';
import { allocateHostMemory, trustedMemoryAddress } from './host-memory.js';

/** Memory that a command buffer points to. */
export interface PlacedBuffer {
  /** System physical, for the u64 fields of command buffers. */
  readonly address: bigint;
  readonly length: number;
  read(): Promise<Uint8Array>;
}

export interface Mailbox {
  /** Copies bytes into the machine's memory. */
  place(bytes: Uint8Array): Promise<PlacedBuffer>;
  /**
   * Runs one command and gives its buffer back as the firmware left it.
   * @throws FirmwareCommandError for every status but SUCCESS
   */
  run(command: SevCommandName | SnpCommandName, buffer?: Uint8Array): Promise<Uint8Array>;
}

const commandIds = { ...sevCommands, ...snpCommands };

/** Drives the processor's mailbox for one piece of work; what the work placed in memory is wiped and freed behind it. */
export async function withMailbox<T>(
  machine: HostMachine,
  work: (mailbox: Mailbox) => Promise<T>,
): Promise<T> {
  const { undoLater, undo } = undoList();

  async function place(bytes: Uint8Array): Promise<PlacedBuffer> {
    const allocation = allocateHostMemory(machine, bytes.length);
    undoLater(async () => {
      try {
        await machine.memory.write(allocation.address, new Uint8Array(bytes.length));
      } finally {
        allocation.free();
      }
    });
    await machine.memory.write(allocation.address, bytes);
    return {
      address: BigInt(allocation.address),
      length: bytes.length,
      read: () => machine.memory.read(allocation.address, bytes.length),
    };
  }

  async function run(command: SevCommandName | SnpCommandName, buffer?: Uint8Array): Promise<Uint8Array> {
    const placed = buffer === undefined ? undefined : await place(buffer);
    const status = await machine.submit(commandIds[command], Number(placed?.address ?? 0n));
    if (status !== statusCodes.SUCCESS) throw new FirmwareCommandError(command, status);
    return placed === undefined ? new Uint8Array() : placed.read();
  }

  let result: T;
  try {
    result = await work({ place, run });
  } catch (error) {
    await undo().catch(() => undefined);
    throw error;
  }
  await undo();
  return result;
}

/** PLATFORM_STATUS: 12 bytes, as `platformStatus` reads them. */
export function readPlatformStatus({ run }: Mailbox): Promise<Uint8Array> {
  return run('PLATFORM_STATUS', new Uint8Array(platformStatus.size));
}

/**
 * What the kernel does before a command that needs it: INIT with SEV-ES, unless that has happened.
 * @throws FirmwareCommandError
 */
export async function initialiseWhenNeeded(machine: HostMachine, mailbox: Mailbox): Promise<void> {
  const { state } = platformStatus.parse(await readPlatformStatus(mailbox));
  if (state !== 'UNINIT') return;
  const buffer = initBuffer.build({
    flags: { encryptedState: true },
    tmrAddress: BigInt(trustedMemoryAddress(machine)),
    tmrLength: trustedMemorySize,
  });
  try {
    await mailbox.run('INIT', buffer);
  } catch (error) {
    // Someone else was quicker: it is no longer UNINIT, which is all that was wanted.
    if (!(error instanceof FirmwareCommandError) || error.statusName !== 'INVALID_PLATFORM_STATE')
      throw error;
  }
}

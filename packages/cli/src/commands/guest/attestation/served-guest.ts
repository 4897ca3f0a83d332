import { join } from 'node:path';
import type { Chip } from '@vouchsafe/firmware';
import type { AttestationDevice } from '@vouchsafe/guest';
import type { SnpLaunchConfiguration } from '@vouchsafe/host';
import {
  buildCertificateTable,
  certificateTableGuids,
  type Generation,
  InvalidArgumentError,
  parseTcbVersion,
  systemRandom,
  tcbLayout,
  UnavailableError,
} from '@vouchsafe/sev';
import { authorityFolder, openChip } from '../../platform/processor.js';

/** A SEV-SNP guest of the software machine that does nothing but lend out its attestation device. */
export interface ServedGuest {
  readonly device: AttestationDevice;
  /** Certificate of the development authority that a verifier has to be told to trust. */
  readonly root: { readonly name: string; readonly file: string };
  /** Ends the guest and the machine. */
  close(): Promise<void>;
}

export interface ServedGuestOptions {
  /** Folder of the chip's state. */
  readonly software: string;
  /** Folder of the authority; the folder `authority` in the chip's when absent. */
  readonly authority?: string | undefined;
  readonly generation?: Generation | undefined;
  readonly configuration: SnpLaunchConfiguration;
}

/**
 * Launches the guest on the chip of a state folder. The host of the machine hands it the certificates of the chip's
 * key, as the operator of a real one may.
 * @throws InvalidArgumentError for a chip without SEV-SNP; FirmwareCommandError when the processor refuses the launch
 */
export async function launchServedGuest(options: ServedGuestOptions): Promise<ServedGuest> {
  const { software, authority, generation, configuration } = options;
  const { createSoftwareMachine } = await import('@vouchsafe/firmware');
  const { softwareLauncher } = await import('@vouchsafe/host');
  const chip = await openChip(software, generation);
  const machine = createSoftwareMachine({ chip, random: systemRandom, memory: machineMemory });
  try {
    const endorsement = await endorse(machine.host, chip, authorityFolder(software, authority));
    const { over, handedOut, program } = await lender();
    machine.insertGuest(program);
    const { certificateTable } = endorsement;
    const guest = await softwareLauncher(machine.host).launchSnp({ ...configuration, certificateTable });
    guest.onEvent((event) => {
      if (event.type === 'ended')
        handedOut.reject(new UnavailableError('guest', event.detail ?? event.reason));
    });
    await guest.resume();
    return {
      device: await handedOut.promise,
      root: endorsement.root,
      async close() {
        over.resolve();
        await guest.quit();
        await machine.close();
      },
    };
  } catch (error) {
    await machine.close();
    throw error;
  }
}

const machineMemory = 32 * 1024 * 1024;

interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: unknown): void;
}

function deferred<T>(): Deferred<T> {
  let settle: Pick<Deferred<T>, 'resolve' | 'reject'> | undefined;
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject };
  });
  // Whoever waits for it is told; nobody has to.
  promise.catch(() => undefined);
  return { promise, ...settle! };
}

/** The guest's program: it hands out its device, and stays until it is over. */
async function lender() {
  const { guestFirmwareProgram } = await import('@vouchsafe/guest');
  const over = deferred<void>();
  const handedOut = deferred<AttestationDevice>();
  const program = guestFirmwareProgram({
    init({ attestation }) {
      if (attestation === undefined)
        handedOut.reject(new UnavailableError('guest', 'it was launched without SEV-SNP'));
      else handedOut.resolve(attestation);
      return over.promise;
    },
    onFailure: handedOut.reject,
  });
  return { over, handedOut, program };
}

/** The certificates of the key that signs reports now, from the development authority. */
async function endorse(
  machine: Parameters<typeof import('@vouchsafe/host').softwarePlatform>[0],
  chip: Chip,
  folder: string,
) {
  const { vcekEndorsementRequest } = await import('@vouchsafe/firmware');
  const { initialiseSnpWhenNeeded, softwarePlatform } = await import('@vouchsafe/host');
  const { openDevelopmentAuthority } = await import('@vouchsafe/kds');
  const { snp } = await openDevelopmentAuthority({ folder, generation: chip.generation });
  if (snp === undefined) {
    throw new InvalidArgumentError('--generation', `${chip.generation} has no SEV-SNP`, {
      hint: 'name another folder, for a chip of milan, genoa or turin',
    });
  }
  await initialiseSnpWhenNeeded(machine);
  const { reportedTcb } = await softwarePlatform(machine).snp.status();
  const tcb = parseTcbVersion(reportedTcb, tcbLayout(snp.line));
  const vcek = await snp.endorseVcek(vcekEndorsementRequest(chip, tcb));
  const { ARK, ASK, VCEK } = certificateTableGuids;
  return {
    certificateTable: buildCertificateTable([
      { guid: ARK, bytes: snp.ark },
      { guid: ASK, bytes: snp.ask },
      { guid: VCEK, bytes: vcek },
    ]),
    root: { name: snp.root.name, file: join(folder, chip.generation, 'ark.der') },
  };
}

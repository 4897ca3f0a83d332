import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { snpCommitBuffer, snpVlekLoadBuffer, UnavailableError } from '@vouchsafe/sev';
import { initialiseSnpWhenNeeded, readSnpPlatformStatus } from '../snp/initialise.js';
import { FirmwareCommandError } from './firmware-error.js';
import { type Mailbox, withMailbox } from './mailbox.js';
import { requireHashstick, type SnpPlatform, snpConfig, snpPlatformInformation } from './snp-platform.js';

/** SEV-SNP on a software machine: SNP_INIT_EX when a command needs it, as the kernel does for a real one. */
export function softwareSnpPlatform(machine: HostMachine): SnpPlatform {
  async function initialised(work: (mailbox: Mailbox) => Promise<unknown>): Promise<void> {
    await orWithoutSnp(() => initialiseSnpWhenNeeded(machine));
    await withMailbox(machine, work);
  }

  return {
    status: () => orWithoutSnp(async () => snpPlatformInformation(await readSnpPlatformStatus(machine))),

    async configure(settings) {
      const config = snpConfig(settings);
      await initialised(({ run }) => run('SNP_CONFIG', config));
    },

    commit: () => initialised(({ run }) => run('SNP_COMMIT', snpCommitBuffer.build({}))),

    async loadVlek(hashstick) {
      requireHashstick(hashstick);
      await initialised(async ({ place, run }) => {
        const hashstickAddress = (await place(hashstick)).address;
        await run('SNP_VLEK_LOAD', snpVlekLoadBuffer.build({ hashstickAddress }));
      });
    },
  };
}

/** A processor without SEV-SNP does not know its commands. */
async function orWithoutSnp<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const isUnknown = error instanceof FirmwareCommandError && unknown.has(error.statusName);
    if (!isUnknown) throw error;
    throw new UnavailableError('SEV-SNP', 'this processor has none', {
      hint: 'SEV-SNP begins with the third generation of EPYC (Milan)',
      cause: error,
    });
  }
}

const unknown: ReadonlySet<string | undefined> = new Set(['INVALID_COMMAND', 'UNSUPPORTED']);

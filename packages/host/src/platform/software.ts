import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import {
  getIdBuffer,
  pdhCertExportBuffer,
  pekCertImportBuffer,
  pekCsrBuffer,
  platformStatus,
} from '@vouchsafe/sev';
import { initialiseWhenNeeded, type Mailbox, readPlatformStatus, withMailbox } from './mailbox.js';
import type { Platform } from './platform.js';
import {
  certificateSize,
  chainSize,
  chipIdSize,
  guestsAreRunning,
  platformInformation,
} from './platform-information.js';
import { softwareSnpPlatform } from './snp-software.js';

/**
 * The secure processor of a software machine. This does for it what the kernel's ccp driver does for a real one:
 * command buffers in physical memory, INIT when a command needs it, SHUTDOWN before a factory reset.
 */
export function softwarePlatform(machine: HostMachine): Platform {
  const uninitialised = <T>(work: (mailbox: Mailbox) => Promise<T>) => withMailbox(machine, work);
  const initialised = <T>(work: (mailbox: Mailbox) => Promise<T>) =>
    withMailbox(machine, async (mailbox) => {
      await initialiseWhenNeeded(machine, mailbox);
      return work(mailbox);
    });

  return {
    backend: 'software',

    status: () => uninitialised(async (mailbox) => platformInformation(await readPlatformStatus(mailbox))),

    chipId: () =>
      uninitialised(async ({ place, run }) => {
        const id = await place(new Uint8Array(chipIdSize));
        await run('GET_ID', getIdBuffer.build({ address: id.address, length: id.length }));
        return id.read();
      }),

    export: () =>
      initialised(async ({ place, run }) => {
        const pdh = await place(new Uint8Array(certificateSize));
        const chain = await place(new Uint8Array(chainSize));
        const where = {
          pdhAddress: pdh.address,
          pdhLength: pdh.length,
          chainAddress: chain.address,
          chainLength: chain.length,
        };
        await run('PDH_CERT_EXPORT', pdhCertExportBuffer.build(where));
        return { pdh: await pdh.read(), chain: await chain.read() };
      }),

    signingRequest: () =>
      initialised(async ({ place, run }) => {
        const pek = await place(new Uint8Array(certificateSize));
        await run('PEK_CSR', pekCsrBuffer.build({ address: pek.address, length: pek.length }));
        return pek.read();
      }),

    provision: (ownership) =>
      initialised(async ({ place, run }) => {
        const [pek, oca] = [await place(ownership.pek), await place(ownership.oca)];
        const where = {
          pekAddress: pek.address,
          pekLength: pek.length,
          ocaAddress: oca.address,
          ocaLength: oca.length,
        };
        await run('PEK_CERT_IMPORT', pekCertImportBuffer.build(where));
      }),

    rotate: () => initialised(async ({ run }) => void (await run('PDH_GEN'))),
    regenerate: () => initialised(async ({ run }) => void (await run('PEK_GEN'))),

    reset: () =>
      uninitialised(async (mailbox) => {
        const { state } = platformStatus.parse(await readPlatformStatus(mailbox));
        if (state === 'WORKING') throw guestsAreRunning();
        if (state === 'INIT') await mailbox.run('SHUTDOWN');
        await mailbox.run('PLATFORM_RESET');
      }),

    snp: softwareSnpPlatform(machine),
  };
}

import { readFile } from 'node:fs/promises';
import { connectHost } from '@vouchsafe/firmware';
import { softwareLauncher } from '@vouchsafe/host';
import { vcpuSignatureOf } from '@vouchsafe/sev';
import type { BootFiles } from '../../boot-files.js';
import { type Narrator, narrator } from '../../narration.js';
import { playRole } from '../../role-process.js';
import { certificatesOf, runUntilBooted } from '../../snp/launch-steps.js';
import { commandLineOf, snpGuest } from '../../snp/release.js';
import { carryMessages } from '../network.js';

/** The hypervisor: launches the newest release, and carries what the guest and its owner's broker say to each other. */
export type HostSettings =
  | { readonly act: 'carry'; readonly broker: string }
  | {
      readonly act: 'launch';
      readonly machineSocket: string;
      readonly keyService: string;
      readonly files: BootFiles;
      readonly release: number;
      /** The second time nothing new is to be told of the launch itself. */
      readonly again: boolean;
    };

export interface NetworkReady {
  /** Where the guest reaches the broker. */
  readonly address: string;
}

playRole<HostSettings>(async ({ settings, narrate, ready }) => {
  if (settings.act === 'carry') {
    const { address } = await carryMessages(settings.broker, narrate);
    return ready({ address } satisfies NetworkReady);
  }
  ready();
  return launch(settings, narrate);
});

/** @returns what the guest printed */
async function launch(
  { machineSocket, keyService, files, release, again }: HostSettings & { readonly act: 'launch' },
  narrate: Narrator,
): Promise<string[]> {
  const machine = await connectHost(machineSocket);
  try {
    const certificateTable = await certificatesOf(machine, keyService, again ? narrator(untold) : narrate);
    const { policy, vcpus, vcpuType, memory } = snpGuest;
    await narrate.step('host', `launches release ${release}${again ? ', again' : ''}`);
    const guest = await softwareLauncher(machine).launchSnp({
      mode: 'snp',
      policy,
      vcpus,
      vcpuSignature: vcpuSignatureOf(vcpuType),
      memory,
      firmware: new Uint8Array(await readFile(files.firmware)),
      directBoot: {
        kernel: new Uint8Array(await readFile(files.kernel)),
        initrd: new Uint8Array(await readFile(files.initrd)),
        commandLine: commandLineOf(files, release),
      },
      certificateTable,
    });
    try {
      const console = await runUntilBooted(guest);
      await narrate.sight('disk key', 'host', 'encrypted to the guest’s key, which a report vouches for');
      await narrate.sight('the reason of the denial', 'host', 'the number at most');
      return console;
    } finally {
      await guest.quit();
    }
  } finally {
    machine.close();
  }
}

const untold = async () => undefined;

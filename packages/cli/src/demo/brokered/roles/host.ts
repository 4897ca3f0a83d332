import { connectHost, type RemoteHostMachine } from '@vouchsafe/firmware';
import { softwareLauncher } from '@vouchsafe/host';
import { vcpuSignatureOf } from '@vouchsafe/sev';
import type { BootFiles } from '../../boot-files.js';
import { lookAtImage } from '../../containers/look-at-image.js';
import type { Narrator } from '../../narration.js';
import { playRole } from '../../role-process.js';
import { certificatesOf, runUntilBooted } from '../../snp/launch-steps.js';
import { narratedSnpMailbox } from '../../snp/narrated-mailbox.js';
import { brokeredMachine, markers, readBootImages } from '../machine.js';

/** The hypervisor: asks the key service once, and then launches one machine after the other. */
export interface HostSettings {
  readonly machineSocket: string;
  readonly keyService: string;
  readonly files: BootFiles;
  readonly commandLine: string;
  /** Machines, one after the other. */
  readonly starts: number;
  /** An OCI layout that it keeps for the machines, and looks into. */
  readonly image?: string | undefined;
}

export interface HostResult {
  /** Milliseconds of each start, from the launch to the machine's word that it is up. */
  readonly times: readonly number[];
  /** What the first machine printed. */
  readonly console: readonly string[];
  /** Layers of the image that it can read. */
  readonly readableLayers: number;
}

playRole<HostSettings>(async ({ settings, narrate, ready }): Promise<HostResult> => {
  const bare = await connectHost(settings.machineSocket);
  ready();
  try {
    return await launchAll(bare, settings, narrate);
  } finally {
    bare.close();
  }
});

async function launchAll(
  bare: RemoteHostMachine,
  settings: HostSettings,
  narrate: Narrator,
): Promise<HostResult> {
  const { policy, vcpus, vcpuType, memory } = brokeredMachine;
  const { firmware, kernel, initrd } = await readBootImages(settings.files);
  const certificateTable = await certificatesOf(bare, settings.keyService, narrate);
  const configuration = {
    mode: 'snp',
    policy,
    vcpus,
    vcpuSignature: vcpuSignatureOf(vcpuType),
    memory,
    firmware,
    directBoot: { kernel, initrd, commandLine: settings.commandLine },
    certificateTable,
  } as const;

  await narrate.sight('launch digest', 'host', 'can be computed from the files, and not be chosen');
  const readableLayers = settings.image === undefined ? 0 : await lookAtImage(settings.image, narrate);
  const times: number[] = [];
  let console: string[] = [];
  for (let start = 0; start < settings.starts; start++) {
    // The first machine is the one that the story is told of.
    if (start === 0) await narrate.step('host', markers.firstStart);
    if (start === 1) await narrate.step('host', `${markers.laterStarts}, ${settings.starts - 1}, one by one`);
    const machine = start === 0 ? narratedSnpMailbox(bare, narrate) : bare;
    const began = performance.now();
    const guest = await softwareLauncher(machine).launchSnp(configuration);
    try {
      const lines = await runUntilBooted(guest);
      times.push(performance.now() - began);
      if (start === 0) {
        console = lines;
        for (const line of lines)
          await narrate.message('guest', 'host', `console: ${line}`, new TextEncoder().encode(line));
      }
    } finally {
      await guest.quit();
    }
  }
  return { times, console, readableLayers };
}

import { openSecret, Secret, toHex } from '@vouchsafe/sev';
import type { BootFiles } from '../../boot-files.js';
import { openDemoBroker } from '../../brokered/demo-broker.js';
import { expectedDigest } from '../../brokered/machine.js';
import { drawDiskKey, makeDisk } from '../../disk.js';
import { playRole } from '../../role-process.js';
import { diskKeyPath } from '../disk-key.js';

/** The owner: has an encrypted disk, and a broker that has its key and knows one measured machine. */
export interface OwnerSettings {
  readonly files: BootFiles;
  readonly folder: string;
  readonly volume: string;
  readonly keyService: string;
  readonly ark: Uint8Array;
}

export interface OwnerReady {
  /** Measured: it names the broker. */
  readonly commandLine: string;
}

playRole<OwnerSettings>(async ({ settings, narrate, ready }) => {
  const { files, folder, volume, keyService, ark } = settings;
  const broker = await openDemoBroker({ folder, keyService, ark });
  const key = drawDiskKey();
  const disk = await makeDisk(volume, Secret.copyOf(openSecret(key)));
  await broker.store(diskKeyPath, key);
  key.zero();
  await narrate.step('owner', `made ${disk}, and stored its key with a key broker`);
  const commandLine = `${files.commandLine} agent.aa_kbc_params=cc_kbc::${broker.address}`;
  const digest = await expectedDigest(files, commandLine);
  await broker.admit(digest);
  await narrate.step(
    'owner',
    `told the broker which kernel, initrd and command line may have it, by the launch digest: ${toHex(digest).slice(0, 16)}…`,
  );
  ready({ commandLine } satisfies OwnerReady);
});

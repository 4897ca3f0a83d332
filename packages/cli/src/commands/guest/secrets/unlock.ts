import { folderSecretStore, unlockVolume } from '@vouchsafe/guest';
import { wellKnownSecretGuids } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { argument, flag, text, withDefault } from '../../../frame/options.js';
import { secretsFolder } from './secrets-folder.js';

export const unlock = command({
  description:
    'Inside a guest: unlocks a LUKS2 volume with the disk key that its owner injected at launch, and wipes the key from ' +
    'guest memory. Without --name the key is tried and nothing is mapped. The key reaches cryptsetup over a pipe.',
  arguments: { volume: argument('volume', 'block device or image file') },
  options: {
    folder: secretsFolder,
    guid: withDefault(text('--guid <guid>', 'which secret is the disk key'), wellKnownSecretGuids.luksKey),
    name: text('--name <name>', 'map the volume as /dev/mapper/NAME'),
    keep: flag('--keep', 'leave the key where it was injected'),
  },
  examples: [
    {
      line: 'guest unlock /dev/vda3 --name root',
      explains: 'from an initrd, before the root file system is mounted',
    },
  ],
  async run({ volume, folder, guid, name, keep }): Promise<Result> {
    const store = folderSecretStore(folder);
    const key = await store.read(guid);
    try {
      const unlocked = await unlockVolume({ volume, key, ...(name === undefined ? {} : { name }) });
      if (!keep) await store.unlink(guid);
      const mapped = unlocked.kind === 'luks2' ? unlocked.mapped : undefined;
      return {
        exit: 0,
        json: { volume, kind: unlocked.kind, mapped: mapped ?? null, wiped: !keep },
        render(screen) {
          screen.line(
            mapped === undefined ? `The key unlocks ${volume}.` : `Unlocked ${volume} as ${mapped}.`,
          );
          if (!keep) screen.line('The key was wiped from where it was injected.');
        },
      };
    } finally {
      key.zero();
    }
  },
});

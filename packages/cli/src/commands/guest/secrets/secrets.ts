import { folderSecretStore, takeSecret } from '@vouchsafe/guest';
import { InvalidArgumentError, openSecret, wellKnownSecretGuids } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { describeOutput, writeOutputs } from '../../../frame/files.js';
import { path, text } from '../../../frame/options.js';
import { secretsFolder } from './secrets-folder.js';

const knownAs = new Map<string, string>(
  Object.entries(wellKnownSecretGuids).map(([name, guid]) => [guid, name]),
);

export const secrets = command({
  description:
    'Inside a guest: lists the secrets that its owner injected at launch, by GUID and size. With --take, writes one to a ' +
    'file and wipes it from guest memory. Secrets are never printed.',
  arguments: {},
  options: {
    folder: secretsFolder,
    take: text('--take <guid>', 'the secret to write to --out and wipe'),
    out: path('--out <file>', 'where to write it, mode 0600: best on a tmpfs'),
  },
  examples: [
    { line: 'guest secrets', explains: 'what was injected' },
    {
      line: 'guest secrets --take 736869e5-84f0-4973-92ec-06879ce3da0b --out /run/disk-key',
      explains: 'one of them, once',
    },
  ],
  async run({ folder, take, out }): Promise<Result> {
    const store = folderSecretStore(folder);
    if ((take === undefined) !== (out === undefined)) {
      throw new InvalidArgumentError(
        take === undefined ? '--take' : '--out',
        'give --take and --out together',
      );
    }
    if (take !== undefined && out !== undefined) {
      const secret = await takeSecret(store, take);
      const file = { path: out, bytes: openSecret(secret), secret: true };
      await writeOutputs([file], { overwrite: false }).finally(() => secret.zero());
      return {
        exit: 0,
        json: { files: [describeOutput(file)] },
        render: (screen) =>
          screen.line(`Wrote ${out} (keep it secret), and wiped it from where it was injected`),
      };
    }
    const listed: { guid: string; name: string | null; bytes: number }[] = [];
    for (const guid of await store.list()) {
      const secret = await store.read(guid);
      listed.push({ guid, name: knownAs.get(guid) ?? null, bytes: secret.length });
      secret.zero();
    }
    return {
      exit: 0,
      json: { folder, secrets: listed },
      render(screen) {
        if (listed.length === 0) screen.line('no secrets');
        else
          screen.table(
            ['GUID', 'known as', 'bytes'],
            listed.map(({ guid, name, bytes }) => [guid, name ?? '', String(bytes)]),
          );
      },
    };
  },
});

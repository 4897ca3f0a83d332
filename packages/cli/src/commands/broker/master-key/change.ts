import { isAbsolute, relative, resolve } from 'node:path';
import { changeConfiguredMasterKey, type MasterKeyPlace } from '@vouchsafe/broker';
import { InvalidArgumentError, systemRandom } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { grouped, path, text } from '../../../frame/options.js';
import { dataOption, filesIn, moreData } from '../data-folder.js';

export const change = command({
  description:
    'Seals the broker’s database under another master key, in a file, an environment variable, or Vault or OpenBao, ' +
    'and then names that one in broker.toml. It takes the folder and both keys, so run it as the user that the broker ' +
    'runs as. Brokers that are running go on, and need the new key when they start again: in the folder of every other ' +
    'replica, with the new key file copied there, give the same command again, which then changes broker.toml alone. ' +
    'Given again, it also finishes one that was interrupted. The old key still opens copies of the database from before, ' +
    'and the keys in the database stay the same: whoever has both the old key and such a copy can read later ones, too. ' +
    'If that may be, replace the secrets, in a new broker.',
  arguments: {},
  options: {
    ...dataOption,
    ...grouped('The new master key', {
      toFile: path('--to-file <file>', 'in this file, which is made if it is not there'),
      toEnvironment: text('--to-environment <name>', 'in this environment variable: base64 of 32 bytes'),
      toVault: text('--to-vault <url>', 'in the Vault or OpenBao at this address'),
      vaultKey: text('--vault-key <name>', 'name of its transit key, of an AEAD type such as aes256-gcm96'),
      vaultTokenEnvironment: text(
        '--vault-token-environment <name>',
        'environment variable with the token for it (default: VAULT_TOKEN)',
      ),
      vaultMount: text('--vault-mount <name>', 'where its transit engine is mounted (default: transit)'),
      vaultNamespace: text('--vault-namespace <name>', 'its namespace'),
    }),
  },
  examples: [
    {
      line: 'broker master-key change --to-file .vouchsafe/broker/master-2.key',
      explains: 'to a new key in a file that is made',
    },
    {
      line: 'broker master-key change --to-vault https://vault.example:8200 --vault-key broker',
      explains: 'to a key that never leaves Vault',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { data } = input;
    const place = placeOf(input);
    const { id, before } = await changeConfiguredMasterKey(data, place, {
      environment: io.env,
      random: systemRandom,
      now: Date.now,
    });
    const { configuration } = filesIn(data);
    return {
      exit: 0,
      json: { folder: data, configuration, masterKey: id, before: before ?? null },
      render(screen) {
        screen.line(
          before === undefined
            ? `The database is sealed under master key ${id} already; ${configuration} names it`
            : `The database is sealed under master key ${id} from now on, and ${configuration} names it`,
        );
        screen.line();
        screen.line('What to do next:');
        if (place.file !== undefined) screen.line('  keep a copy of the new key where the database is not');
        screen.line('  give the same command in the folder of every other replica');
        screen.line('  keep the old key as long as copies of the database from before may be needed');
        screen.line(`  vouchsafe broker audit verify${moreData(data)}`);
      },
    };
  },
});

interface PlaceInput {
  readonly data: string;
  readonly toFile?: string | undefined;
  readonly toEnvironment?: string | undefined;
  readonly toVault?: string | undefined;
  readonly vaultKey?: string | undefined;
  readonly vaultTokenEnvironment?: string | undefined;
  readonly vaultMount?: string | undefined;
  readonly vaultNamespace?: string | undefined;
}

/** What `[master-key]` in `broker.toml` will say. */
function placeOf(input: PlaceInput): MasterKeyPlace {
  const { toFile, toEnvironment, toVault, vaultKey, vaultMount, vaultNamespace } = input;
  const { vaultTokenEnvironment = 'VAULT_TOKEN' } = input;
  if ([toFile, toEnvironment, toVault].filter((each) => each !== undefined).length !== 1)
    throw new InvalidArgumentError(
      '--to-file',
      'expected one of --to-file, --to-environment and --to-vault: where the new master key is',
    );
  const forVault = { vaultKey, vaultToken: input.vaultTokenEnvironment, vaultMount, vaultNamespace };
  if (toVault === undefined && Object.values(forVault).some((each) => each !== undefined))
    throw new InvalidArgumentError('--to-vault', 'it has to be given beside the other options for Vault');
  if (toFile !== undefined) return { file: inFolder(input.data, toFile) };
  if (toEnvironment !== undefined) return { environment: requireVariable(toEnvironment, '--to-environment') };
  if (vaultKey === undefined)
    throw new InvalidArgumentError('--vault-key', 'it has to be given beside --to-vault');
  return {
    vault: {
      address: toVault ?? '',
      key: vaultKey,
      ...(vaultMount === undefined ? {} : { mount: vaultMount }),
      ...(vaultNamespace === undefined ? {} : { namespace: vaultNamespace }),
      'token-environment': requireVariable(vaultTokenEnvironment, '--vault-token-environment'),
    },
  };
}

/** A key given in place of a variable's name must not be written anywhere. */
function requireVariable(name: string, option: string): string {
  if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) return name;
  throw new InvalidArgumentError(option, 'expected the name of an environment variable');
}

/** As `broker.toml` names a file: relative to its folder if it is in there. */
function inFolder(folder: string, file: string): string {
  const path = resolve(file);
  const within = relative(resolve(folder), path);
  return within === '' || within.startsWith('..') || isAbsolute(within) ? path : within;
}

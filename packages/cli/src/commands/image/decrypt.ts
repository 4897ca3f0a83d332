import {
  brokerResources,
  decryptImage,
  folderSecretStore,
  type OpenPacket,
  offlineTable,
  openPacketsWith,
  requireResource,
  takeInjectedKeys,
} from '@vouchsafe/guest';
import { wrappingKeySize } from '@vouchsafe/protocol';
import { InvalidArgumentError, openSecret, Secret, UnavailableError } from '@vouchsafe/sev';
import { appraisalResult, withRefusals } from '../../frame/appraisal.js';
import { type Context, command, type Result } from '../../frame/command.js';
import { readInput, readSecret } from '../../frame/files.js';
import { argument, flag, grouped, parsed, path, repeated, text } from '../../frame/options.js';
import { type KeyBrokerInputs, keyBrokerOptions, withKeyBroker } from '../guest/secrets/broker-options.js';
import { secretsFolder } from '../guest/secrets/secrets-folder.js';
import { imageNameHelp, openImages } from './image-name.js';

export const decrypt = command({
  description:
    'Decrypts the layers of a container image, with keys from one of four places: a file, a table of keys, the secrets ' +
    'that were injected into this guest at launch, or a key broker that this guest attests to. Nothing is left where a ' +
    'layer is refused. Encryption proves that layers are whole, not whose image it is: for that expect its manifest.',
  arguments: {
    from: argument('from', imageNameHelp),
    to: argument('to', 'where the image is to stand in plain text, likewise'),
  },
  options: {
    key: path('--key <file>', 'open every layer with this key, whatever its id'),
    keys: path('--keys <file>', 'JSON of key ids and keys in base64, as offline_fs_kbc has it'),
    injected: flag('--injected', 'take the keys that were injected at launch, and wipe them'),
    folder: secretsFolder,
    manifest: parsed('--manifest <digest>', 'expect this manifest, sha256:…', readDigest),
    repositories: repeated(text('--repository <name>', 'open layers with keys of this repository only')),
    allowPlainLayers: flag('--allow-plain-layers', 'take over layers that are not encrypted'),
    ...grouped('For keys of a broker', {
      broker: text('--broker <url>', 'the key broker: https://HOST[:PORT], or http:// on this machine'),
      ...keyBrokerOptions,
    }),
  },
  examples: [
    {
      line: 'image decrypt secret:latest plain:latest --broker https://broker.example --ca ca.pem --repository web',
      explains: 'inside a SEV-SNP guest',
    },
    { line: 'image decrypt secret plain --key web.key', explains: 'where the owner keeps the key' },
  ],
  run: (input, context): Promise<Result> =>
    withRefusals(() =>
      withPackets(input, context, async (openPacket) => {
        const { manifest, repositories, allowPlainLayers } = input;
        const images = await openImages(input.from, input.to);
        context.progress.step('decrypting');
        const decrypted = await decryptImage({
          ...images,
          openPacket,
          manifest,
          allowPlainLayers,
          ...(repositories.length === 0 ? {} : { repositories }),
        });
        const image = `${images.folder}:${images.as}`;
        return appraisalResult(decrypted.appraisal, {
          json: { image, manifest: decrypted.manifest.digest, layers: decrypted.layers },
          render(screen) {
            screen.line();
            screen.line(`Decrypted ${decrypted.layers.length} layers into ${image}`);
          },
        });
      }),
    ),
});

interface KeyPlaces extends Omit<KeyBrokerInputs, 'broker'> {
  readonly key: string | undefined;
  readonly keys: string | undefined;
  readonly injected: boolean;
  readonly folder: string;
  readonly broker: string | undefined;
}

/** Lends what opens packets to `work`; keys are zeroed as they are used. */
async function withPackets<T>(
  places: KeyPlaces,
  context: Context,
  work: (openPacket: OpenPacket) => Promise<T>,
): Promise<T> {
  const { key, keys, injected, folder, broker } = places;
  const given = [key, keys, broker].filter((each) => each !== undefined).length + (injected ? 1 : 0);
  if (given !== 1)
    throw new InvalidArgumentError('--key', 'give one of --key, --keys, --injected and --broker');
  if (key !== undefined) {
    const only = await readSecret(key, '--key', context.io, [wrappingKeySize]);
    return work(openPacketsWith(async () => Secret.copyOf(openSecret(only)))).finally(() => only.zero());
  }
  if (broker !== undefined) {
    return withKeyBroker({ ...places, broker }, context, (client) => {
      const resources = brokerResources(client);
      return work(openPacketsWith((id) => requireResource(resources, id)));
    });
  }
  const resources = keys === undefined ? await injectedKeys(folder) : await tableOfKeys(keys, context);
  return work(openPacketsWith((id) => requireResource(resources, id)));
}

async function injectedKeys(folder: string) {
  const found = await takeInjectedKeys(folderSecretStore(folder));
  if (found !== undefined) return found;
  throw new UnavailableError('injected keys', `no keys of images were injected into ${folder}`, {
    hint: 'the launch needs the entry e6f5a162-d67f-4750-a67c-5d065f2a9910; the kernel needs efi_secret',
  });
}

async function tableOfKeys(file: string, { io }: Context) {
  const table = Secret.take(await readInput(file, '--keys', io));
  try {
    return offlineTable(table, { name: file, keysOnly: true });
  } finally {
    table.zero();
  }
}

function readDigest(given: string, name: string): string {
  if (/^sha256:[0-9a-f]{64}$/.test(given)) return given;
  throw new InvalidArgumentError(name, 'expected sha256: and 64 lower-case hexadecimal digits');
}

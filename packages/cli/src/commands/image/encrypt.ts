import { randomUUID } from 'node:crypto';
import { encryptImage } from '@vouchsafe/guest';
import { keyIdText, parseKeyId, wrappingKeySize } from '@vouchsafe/protocol';
import { InvalidArgumentError, openSecret, Secret, systemRandom } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { describeOutput, readSecret, writeOutputs } from '../../frame/files.js';
import { argument, flag, grouped, parsed, path, repeated, text } from '../../frame/options.js';
import { clientOptions } from '../broker/data-folder.js';
import { imageNameHelp, openImages } from './image-name.js';
import { brokerRegistrar, newKeyId, storeNewKey } from './registrar.js';

export const encrypt = command({
  description:
    'Encrypts the layers of a container image in the form that skopeo, podman, containerd and Confidential Containers ' +
    'know, each with a key of its own. Those are wrapped with one key, which guests get from the broker by its id. The ' +
    'image’s configuration stays readable.',
  arguments: {
    from: argument('from', imageNameHelp),
    to: argument('to', 'where the encrypted image is to stand, likewise'),
  },
  options: {
    key: path(
      '--key <file>',
      'wrap with this key: 32 bytes, raw or as hexadecimal or base64 (default: a new one)',
    ),
    keyId: text(
      '--key-id <id>',
      'kbs:///REPOSITORY/TYPE/TAG, under which guests find the key (default: a new id)',
    ),
    register: flag('--register', 'store the key with the broker, before anything is written'),
    keyOut: path('--key-out <file>', 'write a new key into a file, mode 0600'),
    layers: repeated(
      parsed(
        '--encrypt-layer <n>',
        'only this layer: 0 is the lowest, -1 the highest (default: all)',
        readLayer,
      ),
    ),
    provider: text(
      '--provider <name>',
      'name of the key provider that opens it (default: attestation-agent)',
    ),
    force: flag('--force', 'replace the file of --key-out'),
    ...grouped('For --register', clientOptions),
  },
  examples: [
    {
      line: 'image encrypt img:latest secret:latest --key-id kbs:///web/image-key/1 --register',
      explains: 'with a new key, which only the broker has',
    },
    {
      line: 'image encrypt img secret --key-id kbs:///web/image-key/1 --key web.key',
      explains: 'with a key that was stored before: `broker secret put web/image-key/1 --from web.key`',
    },
  ],
  async run(input, { io, progress }): Promise<Result> {
    const { register, keyOut, layers, provider, force } = input;
    if (input.key === undefined && !register && keyOut === undefined)
      throw new InvalidArgumentError('--key', 'give it, or --register or --key-out for a new one', {
        hint: 'otherwise nobody could ever open the image',
      });
    if (input.key !== undefined && input.keyId === undefined && !register)
      throw new InvalidArgumentError('--key-id', 'say under which id guests find the key');
    const keyId = input.keyId === undefined ? newKeyId(randomUUID()) : parseKeyId(input.keyId);
    const key =
      input.key === undefined
        ? Secret.take(systemRandom(wrappingKeySize))
        : await readSecret(input.key, '--key', io, [wrappingKeySize]);
    try {
      const images = await openImages(input.from, input.to);
      if (keyOut !== undefined)
        await writeOutputs([{ path: keyOut, bytes: openSecret(key), secret: true }], { overwrite: force });
      if (register) {
        progress.step('storing the key with the broker');
        await storeNewKey(await brokerRegistrar(input, io), keyId, key);
      }
      progress.step('encrypting');
      const encrypted = await encryptImage({
        ...images,
        key,
        keyId,
        ...(layers.length === 0 ? {} : { layers }),
        ...(provider === undefined ? {} : { provider }),
        random: systemRandom,
      });
      const id = keyIdText(keyId);
      const files =
        keyOut === undefined ? [] : [describeOutput({ path: keyOut, bytes: openSecret(key), secret: true })];
      return {
        exit: 0,
        json: {
          image: `${images.folder}:${images.as}`,
          manifest: encrypted.manifest.digest,
          keyId: id,
          registered: register,
          layers: encrypted.layers,
          files,
        },
        render(screen) {
          screen.line(`Encrypted into ${images.folder}:${images.as}, manifest ${encrypted.manifest.digest}`);
          screen.line(`  key ${id}${register ? ', stored with the broker' : ''}`);
          screen.table(
            ['layer', 'before', 'after'],
            encrypted.layers.map(({ encrypted: isSo, plain, digest }, index) => {
              return [String(index), plain, isSo ? digest : 'left in plain text'];
            }),
          );
        },
      };
    } finally {
      key.zero();
    }
  },
});

function readLayer(given: string, name: string): number {
  if (/^-?\d{1,4}$/.test(given)) return Number(given);
  throw new InvalidArgumentError(name, 'expected a whole number, such as 0 or -1');
}

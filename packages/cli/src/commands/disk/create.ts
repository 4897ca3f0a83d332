import { copyFile, rm, stat, truncate } from 'node:fs/promises';
import { createImage, createVolume, imageRoom, roundsForRandomKeys } from '@vouchsafe/guest';
import { InvalidArgumentError, toHex, UnavailableError } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { fileError } from '../../frame/files.js';
import { argument, flag, path, text } from '../../frame/options.js';
import { keySourceHelp, keySourceOptions, takeKey } from './key-source.js';
import { generateKey, roundsForGivenKeys, sizeOption } from './options.js';

export const create = command({
  description:
    'Makes a LUKS2 volume (AES-256-XTS, PBKDF2) with cryptsetup, on a machine that its owner trusts. Prints the binding: ' +
    'what tells this volume from every other that its key may open. Keys reach cryptsetup over a pipe.',
  arguments: { volume: argument('volume', 'block device or image file') },
  options: {
    size: sizeOption('--size <size>', 'make the image file, sparse'),
    content: path(
      '--content <file>',
      'a plain image, such as a root file system: the volume holds it, encrypted',
    ),
    generateKey: path('--generate-key <file>', 'make a random key and write it here, mode 0600'),
    key: text('--key <source>', `the key: ${keySourceHelp}`),
    label: text('--label <text>', 'label in the header, which anybody can read'),
    force: flag('--force', 'destroy what is on an existing device or in an existing file'),
    ...keySourceOptions,
  },
  examples: [
    {
      line: 'disk create root.img --size 2G --generate-key root.key',
      explains: 'then `broker secret put default/disk/root --from root.key`',
    },
  ],
  async run(input, context): Promise<Result> {
    const { volume, size, content, label, force } = input;
    if ((input.generateKey === undefined) === (input.key === undefined))
      throw new InvalidArgumentError('--generate-key', 'give it or --key: one of the two');
    const isThere = await exists(volume);
    if (content !== undefined && (isThere || size !== undefined))
      throw new InvalidArgumentError('--content', 'it makes a new image file, as large as it has to be');
    if (isThere && size !== undefined) throw new InvalidArgumentError('--size', `${volume} is there already`);
    if (isThere && !force) {
      throw new UnavailableError(volume, 'it is there already, and all that is on it would be lost', {
        hint: 'give --force if that is meant',
      });
    }
    if (!isThere && size === undefined && content === undefined)
      throw new InvalidArgumentError('--size', `${volume} is not there: say how large to make it`);
    const given = input.key === undefined ? undefined : await takeKey(input.key, '--key', input, context);
    const made = input.generateKey === undefined ? undefined : await generateKey(input.generateKey);
    const key = (given ?? made)!.key;
    try {
      if (size !== undefined) await createImage(volume, size);
      if (content !== undefined) await copyContent(content, volume);
      const rounds = made === undefined ? roundsForGivenKeys : roundsForRandomKeys;
      const { binding } = await createVolume({
        volume,
        key,
        rounds,
        label,
        keepContent: content !== undefined,
      });
      return {
        exit: 0,
        json: { volume, binding: toHex(binding), key: input.generateKey ?? null },
        render(screen) {
          screen.line(`Made ${volume}`);
          if (input.generateKey !== undefined) screen.line(`Wrote ${input.generateKey} (keep it secret)`);
          screen.line(`binding: ${toHex(binding)}`);
        },
      };
    } catch (error) {
      if (!isThere) await rm(volume, { force: true });
      if (input.generateKey !== undefined) await rm(input.generateKey, { force: true });
      throw error;
    } finally {
      key.zero();
    }
  },
});

/** A copy of the image with room for the header behind it; what is plain there is encrypted in place. */
async function copyContent(content: string, volume: string): Promise<void> {
  try {
    await copyFile(content, volume);
    const { size } = await stat(volume);
    await truncate(volume, Math.ceil(size / 4096) * 4096 + imageRoom);
  } catch (error) {
    throw fileError(error, 'content', content, 'read');
  }
}

const exists = (file: string) =>
  stat(file).then(
    () => true,
    () => false,
  );

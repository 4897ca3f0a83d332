import { rm } from 'node:fs/promises';
import { rekeyVolume, roundsForRandomKeys } from '@vouchsafe/guest';
import { InvalidArgumentError, toHex } from '@vouchsafe/sev';
import { withRefusals } from '../../frame/appraisal.js';
import { command, type Result } from '../../frame/command.js';
import { argument, flag, path, required, text } from '../../frame/options.js';
import { keySourceHelp, keySourceOptions, takeKey } from './key-source.js';
import { bindingOption, generateKey, roundsForGivenKeys } from './options.js';

export const rekey = command({
  description:
    'Replaces the key of a LUKS2 volume. The volume’s own key, which the data is encrypted under, stays unless ' +
    '--volume-key is given: until then, whoever kept a copy of the old header and learns the old key can read the disk.',
  arguments: { volume: argument('volume', 'block device or image file') },
  options: {
    key: required(text('--key <source>', `the key so far: ${keySourceHelp}`)),
    generateKey: path('--generate-key <file>', 'make a random key and write it here, mode 0600'),
    newKey: text('--new-key <source>', 'the new key, likewise'),
    volumeKey: flag('--volume-key', 'encrypt all data anew as well; the volume must not be in use'),
    binding: bindingOption,
    ...keySourceOptions,
  },
  examples: [
    {
      line: 'disk rekey root.img --key old.key --generate-key new.key --volume-key',
      explains: 'after a key was lost: nothing that was copied before opens the disk any more',
    },
  ],
  async run(input, context): Promise<Result> {
    const { volume, volumeKey, binding } = input;
    if ((input.generateKey === undefined) === (input.newKey === undefined))
      throw new InvalidArgumentError('--generate-key', 'give it or --new-key: one of the two');
    return withRefusals(async () => {
      const { key, injected } = await takeKey(input.key, '--key', input, context);
      if (injected) {
        key.zero();
        throw new InvalidArgumentError(
          '--key',
          'an injected key is its owner’s to replace, where the disk is made',
        );
      }
      try {
        const given =
          input.newKey === undefined ? undefined : await takeKey(input.newKey, '--new-key', input, context);
        const made = input.generateKey === undefined ? undefined : await generateKey(input.generateKey);
        const newKey = (given ?? made)!.key;
        try {
          const rounds = made === undefined ? roundsForGivenKeys : roundsForRandomKeys;
          const after = await rekeyVolume({ volume, key, newKey, rounds, volumeKey, binding });
          return {
            exit: 0,
            json: { volume, binding: toHex(after.binding), key: input.generateKey ?? null, volumeKey },
            render(screen) {
              screen.line(`${volume} opens with the new key, and no longer with the old one`);
              if (input.generateKey !== undefined) screen.line(`Wrote ${input.generateKey} (keep it secret)`);
              screen.line(`binding: ${toHex(after.binding)}`);
            },
          };
        } catch (error) {
          // Refused before anything was written; after that, the new key may be the only one that opens the volume.
          if (input.generateKey !== undefined && isBeforeWriting(error))
            await rm(input.generateKey, { force: true });
          throw error;
        } finally {
          newKey.zero();
        }
      } finally {
        key.zero();
      }
    });
  },
});

const isBeforeWriting = (error: unknown) =>
  error instanceof Error && 'code' in error && (error.code === 'refused' || error.code === 'wrong-disk-key');

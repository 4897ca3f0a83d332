import { unlockVolume } from '@vouchsafe/guest';
import { InvalidArgumentError, toHex } from '@vouchsafe/sev';
import { withRefusals } from '../../frame/appraisal.js';
import { command, type Result } from '../../frame/command.js';
import { argument, flag, required, text } from '../../frame/options.js';
import { keySourceHelp, keySourceOptions, takeKey } from './key-source.js';
import { bindingOption } from './options.js';

export const unlock = command({
  description:
    'Unlocks a LUKS2 volume with a key that was injected at launch (SEV, SEV-ES) or that a key broker releases to this ' +
    'attested guest (SEV-SNP). The volume’s header, which the host can write, is copied into memory and appraised before ' +
    'the key is tried. Without --name nothing is mapped.',
  arguments: { volume: argument('volume', 'block device or image file') },
  options: {
    key: required(text('--key <source>', `the key: ${keySourceHelp}`)),
    binding: bindingOption,
    name: text('--name <name>', 'map the volume as /dev/mapper/NAME'),
    keep: flag('--keep', 'leave an injected key where it is'),
    ...keySourceOptions,
  },
  examples: [
    {
      line: 'disk unlock /dev/vda2 --name root --key kbs:///default/disk/root --broker https://broker.example --binding HEX',
      explains: 'SEV-SNP, from the initrd',
    },
    { line: 'disk unlock /dev/vda2 --name root --key injected --binding HEX', explains: 'SEV and SEV-ES' },
  ],
  async run(input, context): Promise<Result> {
    const { volume, binding, name, keep } = input;
    return withRefusals(async () => {
      const { key, injected, wipe } = await takeKey(input.key, '--key', input, context);
      try {
        const named = name === undefined ? {} : { name };
        const unlocked = await unlockVolume({ volume, key, binding, ...named });
        if (unlocked.kind !== 'luks2')
          throw new InvalidArgumentError('volume', `${volume} is no LUKS2 volume`);
        if (!keep) await wipe();
        const { mapped } = unlocked;
        const found = toHex(unlocked.binding);
        return {
          exit: 0,
          json: {
            volume,
            mapped: mapped ?? null,
            binding: found,
            bound: binding !== undefined,
            wiped: injected && !keep,
          },
          render(screen) {
            screen.line(
              mapped === undefined ? `The key unlocks ${volume}.` : `Unlocked ${volume} as ${mapped}.`,
            );
            if (binding === undefined) {
              screen.line(`It was compared with no binding; this one has ${found}.`);
            }
            if (injected && !keep) screen.line('The key was wiped from where it was injected.');
          },
        };
      } finally {
        key.zero();
      }
    });
  },
});

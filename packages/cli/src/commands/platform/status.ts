import { toHex } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { processorOptions, withProcessor } from './processor.js';

export const status = command({
  description:
    'Shows the state of the host’s secure processor: firmware, owner, guests, and the id that AMD’s key service knows it by.',
  arguments: {},
  options: processorOptions,
  examples: [
    { line: 'platform status', explains: 'this host’s processor' },
    { line: 'platform status --software .vouchsafe/processor', explains: 'a software processor' },
  ],
  run: (input) =>
    withProcessor(input, async ({ platform }): Promise<Result> => {
      const found = await platform.status();
      const chipId = toHex(await platform.chipId());
      const { apiMajor, apiMinor, build, state, externallyOwned, encryptedState, guestCount } = found;
      return {
        exit: 0,
        json: { backend: platform.backend, ...found, chipId },
        render(screen) {
          screen.facts([
            ['processor', platform.backend === 'software' ? screen.paint('warning', 'software') : 'hardware'],
            ['state', state],
            ['API', `${apiMajor}.${apiMinor}`],
            ['build', String(build)],
            ['owner', externallyOwned ? 'external' : 'self'],
            ['SEV-ES', encryptedState ? 'on' : 'off'],
            ['guests', String(guestCount)],
            ['chip id', chipId],
          ]);
        },
      };
    }),
});

import { inspectImage, OciLayout } from '@vouchsafe/guest';
import { command, type Result } from '../../frame/command.js';
import { argument } from '../../frame/options.js';
import { harmless } from '../../frame/screen.js';
import { imageNameHelp, readImageName } from './image-name.js';

export const inspect = command({
  description:
    'Shows which layers of a container image say that they are encrypted, and the ids of the keys that open them. It needs ' +
    'no key, and so it proves nothing.',
  arguments: { image: argument('image', imageNameHelp) },
  options: {},
  examples: [
    { line: 'image inspect secret:latest', explains: 'what a guest would have to ask its broker for' },
  ],
  async run(input): Promise<Result> {
    const { folder, name } = readImageName(input.image, 'image');
    const described = await inspectImage(await OciLayout.open(folder), name);
    return {
      exit: 0,
      json: described,
      render(screen) {
        screen.facts([
          ['manifest', described.manifest],
          ['configuration', `${described.config}, readable by everybody`],
        ]);
        screen.line();
        screen.table(
          ['layer', 'digest', 'bytes', 'encrypted', 'keys'],
          described.layers.map(({ digest, size, encryption }, index) => [
            String(index),
            digest,
            String(size),
            encryption === undefined ? screen.paint('warning', 'no') : encryption.cipher,
            harmless(
              [
                ...(encryption?.keys ?? []).map(({ provider, keyId }) => `${keyId} (${provider})`),
                ...(encryption?.others ?? []),
              ].join(', '),
            ),
          ]),
        );
      },
    };
  },
});

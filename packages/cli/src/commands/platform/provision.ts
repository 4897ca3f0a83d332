import { signPek } from '@vouchsafe/host';
import { command, type Result } from '../../frame/command.js';
import { argument } from '../../frame/options.js';
import { readOwnerFiles } from './owner-files.js';
import { processorOptions, withProcessor } from './processor.js';

export const provision = command({
  description:
    'Takes ownership of the platform, as sevctl provision does: signs its PEK with the owner’s CA and imports both. ' +
    'Where the key must not come to the host, use csr, sign and import.',
  arguments: {
    certificate: argument('certificate', 'OCA certificate of the owner'),
    key: argument('key', 'its private key: DER or PEM'),
  },
  options: processorOptions,
  examples: [
    {
      line: 'platform provision owner.cert owner.key',
      explains: 'this host belongs to the owner from now on',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const owner = await readOwnerFiles(input.certificate, input.key, io);
    return withProcessor(input, async ({ platform }): Promise<Result> => {
      const pek = await signPek(await platform.signingRequest(), owner).finally(() =>
        owner.key.scalar.zero(),
      );
      await platform.provision({ pek, oca: owner.certificate });
      return {
        exit: 0,
        json: { externallyOwned: true },
        render: (screen) =>
          screen.line('The platform is owned by the given CA. Its PDH is new: earlier chain files are void.'),
      };
    });
  },
});

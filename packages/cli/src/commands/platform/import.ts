import { command, type Result } from '../../frame/command.js';
import { readEncoded } from '../../frame/files.js';
import { argument } from '../../frame/options.js';
import { processorOptions, withProcessor } from './processor.js';

export const importOwner = command({
  description:
    'Takes ownership of the platform with a PEK that its owner signed elsewhere (PEK_CERT_IMPORT).',
  arguments: {
    pek: argument('pek', 'the signed PEK'),
    certificate: argument('certificate', 'OCA certificate of the owner'),
  },
  options: processorOptions,
  examples: [
    {
      line: 'platform import pek_csr.signed.cert owner.cert',
      explains: 'this host belongs to the owner from now on',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const pek = await readEncoded(input.pek, 'PEK certificate', io, [0x824]);
    const oca = await readEncoded(input.certificate, 'OCA certificate', io, [0x824]);
    return withProcessor(input, async ({ platform }): Promise<Result> => {
      await platform.provision({ pek, oca });
      return {
        exit: 0,
        json: { externallyOwned: true },
        render: (screen) =>
          screen.line('The platform is owned by the given CA. Its PDH is new: earlier chain files are void.'),
      };
    });
  },
});

import { signIdBlock } from '@vouchsafe/sev';
import { command } from '../../frame/command.js';
import { argument } from '../../frame/options.js';
import { readIdBlock } from './files.js';
import { signingOptions, withSigningKeys } from './key-options.js';
import { outputOptions, signedResult } from './signed.js';

export const sign = command({
  description:
    'Signs an ID block that exists, such as one that was made where the images are, with keys that are kept elsewhere. ' +
    'Look at it first: `id-block show`.',
  arguments: { block: argument('block', 'the ID block: 96 bytes, raw, hexadecimal or base64') },
  options: { ...signingOptions, ...outputOptions },
  examples: [
    {
      line: 'id-block sign id-block.bin --id-key id.pem --auth-out id-auth.bin',
      explains: 'the 4096 bytes that belong to it',
    },
  ],
  async run(input, { io }) {
    const idBlock = await readIdBlock(input.block, io);
    return withSigningKeys(input, io, async (keys) => {
      const idAuthentication = await signIdBlock(idBlock, keys);
      return signedResult({ idBlock, idAuthentication, ...keys }, input);
    });
  },
});

import { verifyIdBlock } from '@vouchsafe/sev';
import { appraisalResult } from '../../frame/appraisal.js';
import { command } from '../../frame/command.js';
import { argument, hex, hexOrBase64, number, wideNumber, word } from '../../frame/options.js';
import { readIdAuthentication, readIdBlock } from './files.js';
import { readTrustedKeys, trustedKeyOptions } from './key-options.js';

export const verify = command({
  description:
    'Verifies the signatures of an ID block, as firmware does at the end of a launch, and compares it with what you ' +
    'expect. Without an expected key it proves only that whoever signed meant what it says.',
  arguments: {
    block: argument('block', 'the ID block: 96 bytes, raw, hexadecimal or base64'),
    authentication: argument('authentication', 'its ID authentication information: 4096 bytes'),
  },
  options: {
    ...trustedKeyOptions,
    measurement: hexOrBase64('--measurement <digest>', 'launch digest that it must name: 48 bytes', 48),
    policy: wideNumber('--policy <n>', 'policy that it must name'),
    minGuestSvn: number('--min-guest-svn <n>', 'least security version of the guest', word),
    familyId: hex('--family-id <hex>', 'family id that it must name: 16 bytes', 16),
    imageId: hex('--image-id <hex>', 'image id that it must name: 16 bytes', 16),
  },
  examples: [
    {
      line: 'id-block verify id-block.bin id-auth.bin --trusted-id-keys id.pem --measurement HEX',
      explains: 'before a launch: is it ours, and of this image?',
    },
  ],
  async run(input, { io }) {
    const { measurement, policy, minGuestSvn, familyId, imageId } = input;
    const block = await readIdBlock(input.block, io);
    const authentication = await readIdAuthentication(input.authentication, io);
    const appraisal = await verifyIdBlock(block, authentication, {
      ...(await readTrustedKeys(input, io)),
      launchDigest: measurement,
      policy,
      minimumGuestSvn: minGuestSvn,
      familyId,
      imageId,
    });
    return appraisalResult(appraisal);
  },
});

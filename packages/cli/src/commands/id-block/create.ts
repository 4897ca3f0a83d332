import { createIdBlock, InvalidArgumentError, parseSnpGuestPolicy } from '@vouchsafe/sev';
import { command } from '../../frame/command.js';
import {
  choice,
  flag,
  grouped,
  hex,
  hexOrBase64,
  number,
  path,
  wideNumber,
  withDefault,
  word,
} from '../../frame/options.js';
import { measureLaunch } from '../digest/launch.js';
import { launchOptions } from '../digest/options.js';
import { policyText } from '../policy/explain.js';
import { signingOptions, withSigningKeys } from './key-options.js';
import { outputOptions, signedResult } from './signed.js';

const { mode: _mode, ovmf: _ovmf, ...otherLaunchOptions } = launchOptions;

export const create = command({
  description:
    'Makes and signs an ID block: the launch digest and policy that a guest must have, so that no host can launch ' +
    'anything else under the ID key’s name. Prints the properties of QEMU’s sev-snp-guest object.',
  arguments: {},
  options: {
    measurement: hexOrBase64(
      '--measurement <digest>',
      'launch digest of the guest, as `vouchsafe digest` prints it: 48 bytes, hexadecimal or base64',
      48,
    ),
    ...signingOptions,
    familyId: hex('--family-id <hex>', 'family of the guest, as you count: 16 bytes', 16),
    imageId: hex('--image-id <hex>', 'image of the guest, as you count: 16 bytes', 16),
    guestSvn: withDefault(number('--guest-svn <n>', 'security version of the guest, as you count', word), 0),
    policy: withDefault(
      wideNumber('--policy <n>', 'policy that the guest is launched with'),
      0x30000n,
      '0x30000',
    ),
    allowDebug: flag('--allow-debug', 'accept a policy that lets the host read the guest’s memory'),
    allowMigrationAgent: flag('--allow-migration-agent', 'accept a policy that allows a migration agent'),
    ...outputOptions,
    ...grouped('Instead of --measurement, the launch, as for `vouchsafe digest`', {
      ...otherLaunchOptions,
      mode: withDefault(choice('--mode <mode>', 'what kind of guest', ['snp', 'snp:svsm'] as const), 'snp'),
      ovmf: path('--ovmf <file>', 'firmware image: the code volume alone'),
    }),
  },
  examples: [
    {
      line: 'id-block create --measurement HEX --id-key id.pem --author-key author.pem',
      explains: 'what snp-create-id-block prints',
    },
    {
      line: 'id-block create --ovmf OVMF.fd --vcpus 4 --vcpu-type EPYC-v4 --id-key id.pem',
      explains: 'the digest is computed first',
    },
  ],
  async run(input, { io }) {
    const { measurement, ovmf, familyId, imageId, guestSvn, policy } = input;
    requireCareful(policy, input);
    if ((measurement === undefined) === (ovmf === undefined))
      throw new InvalidArgumentError('--measurement', 'give either it or --ovmf, to say what is launched');
    const launchDigest = measurement ?? (await measureLaunch({ ...input, ovmf: ovmf! }, io)).digest;
    return withSigningKeys(input, io, async (keys) => {
      const made = await createIdBlock({
        launchDigest,
        ...(familyId === undefined ? {} : { familyId }),
        ...(imageId === undefined ? {} : { imageId }),
        guestSvn,
        policy,
        ...keys,
      });
      return signedResult({ ...made, ...keys }, input);
    });
  },
});

function requireCareful(
  word: bigint,
  allowed: { readonly allowDebug: boolean; readonly allowMigrationAgent: boolean },
): void {
  const { debug, migrationAgent } = parseSnpGuestPolicy(word, { offset: 0, path: '--policy' });
  if (debug && !allowed.allowDebug) {
    throw new InvalidArgumentError('--policy', `${policyText(word)} lets the host read the guest’s memory`, {
      hint: 'clear bit 19 (0x80000), or say --allow-debug',
    });
  }
  if (migrationAgent && !allowed.allowMigrationAgent) {
    throw new InvalidArgumentError('--policy', `${policyText(word)} lets the host bind a migration agent`, {
      hint: 'clear bit 18 (0x40000), or say --allow-migration-agent',
    });
  }
}

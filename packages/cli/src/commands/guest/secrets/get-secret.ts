import { parseResourceAddress, resourcePathText, teeKeyKinds } from '@vouchsafe/protocol';
import { openSecret } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { describeOutput, writeOutputs } from '../../../frame/files.js';
import { argument, choice, flag, path, required, text } from '../../../frame/options.js';
import { keyBrokerOptions, withKeyBroker } from './broker-options.js';

const { keyKind: _, ...brokerOptions } = keyBrokerOptions;

export const getSecret = command({
  description:
    'Inside a SEV-SNP guest: proves to the owner’s key broker what this guest is, fetches a secret from it and writes it ' +
    'to a file. It speaks Trustee’s protocol, so that either broker will do. Secrets are never printed.',
  arguments: { resource: argument('resource', 'kbs:///REPOSITORY/TYPE/TAG') },
  options: {
    broker: required(
      text('--broker <url>', 'the key broker: https://HOST[:PORT], or http:// on this machine'),
    ),
    ...brokerOptions,
    key: choice('--key <kind>', 'kind of the key that the secret is sealed to', teeKeyKinds),
    out: required(path('--out <file>', 'where to write the secret, mode 0600: best on a tmpfs')),
    force: flag('--force', 'replace the file if it is there'),
  },
  examples: [
    {
      line: 'guest secrets get kbs:///default/key/disk --broker https://broker.example --ca ca.pem --out /run/disk-key',
      explains: 'the key of a disk, from the owner’s broker',
    },
  ],
  async run(input, context): Promise<Result> {
    const resource = parseResourceAddress(input.resource);
    const { out, force } = input;
    const json = await withKeyBroker({ ...input, keyKind: input.key }, context, async (client) => {
      const secret = await client.getResource(resource);
      const file = { path: out, bytes: openSecret(secret), secret: true };
      const described = describeOutput(file);
      await writeOutputs([file], { overwrite: force }).finally(() => secret.zero());
      return { resource: resourcePathText(resource), files: [described] };
    });
    return {
      exit: 0,
      json,
      render: (screen) => screen.line(`Wrote ${out} (keep it secret)`),
    };
  },
});

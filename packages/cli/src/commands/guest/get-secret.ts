import { setTimeout as wait } from 'node:timers/promises';
import { connectKeyBroker } from '@vouchsafe/guest';
import { parseResourceAddress, resourcePathText, teeKeyKinds } from '@vouchsafe/protocol';
import { InvalidArgumentError, openSecret } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { describeOutput, readInput, writeOutputs } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { argument, choice, flag, hex, path, repeated, required, text } from '../../frame/options.js';
import { attestationDevice } from './device.js';

export const getSecret = command({
  description:
    'Inside a SEV-SNP guest: proves to the owner’s key broker what this guest is, fetches a secret from it and writes it ' +
    'to a file. It speaks Trustee’s protocol, so that either broker will do. Secrets are never printed.',
  arguments: { resource: argument('resource', 'kbs:///REPOSITORY/TYPE/TAG') },
  options: {
    broker: required(
      text('--broker <url>', 'the key broker: https://HOST[:PORT], or http:// on this machine'),
    ),
    ca: path('--ca <file>', 'PEM file of the only authorities that may vouch for the broker’s name'),
    fingerprint: hex(
      '--fingerprint <hex>',
      'SHA-256 of the broker’s TLS certificate, in place of authorities',
      32,
    ),
    tokenKeys: repeated(
      text(
        '--token-key <thumbprint>',
        'thumbprint (RFC 7638) of a key that the broker’s tokens may be signed with',
      ),
    ),
    device: attestationDevice,
    initData: path('--init-data <file>', 'the init-data (TOML) that HOST_DATA was made from'),
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
  async run(input, { io, progress }): Promise<Result> {
    const resource = parseResourceAddress(input.resource);
    const { ca, fingerprint, tokenKeys, initData, key, out, force } = input;
    const device = input.device();
    try {
      const client = connectKeyBroker({
        address: input.broker,
        device,
        trust: {
          ...(ca === undefined ? {} : { authorities: await textFile(ca, 'authorities', io) }),
          ...(fingerprint === undefined ? {} : { certificateFingerprint: fingerprint }),
        },
        ...(initData === undefined ? {} : { initData: await textFile(initData, 'init-data', io) }),
        ...(tokenKeys.length === 0 ? {} : { tokenKeys }),
        ...(key === undefined ? {} : { keyKind: key }),
        now: () => performance.now(),
        pause: async (milliseconds) => {
          progress.step(`the broker is busy or away; trying again in ${milliseconds / 1000} seconds`);
          await wait(milliseconds);
        },
      });
      const secret = await client.getResource(resource);
      const file = { path: out, bytes: openSecret(secret), secret: true };
      const json = { resource: resourcePathText(resource), files: [describeOutput(file)] };
      await writeOutputs([file], { overwrite: force }).finally(() => secret.zero());
      return {
        exit: 0,
        json,
        render: (screen) => screen.line(`Wrote ${out} (keep it secret)`),
      };
    } finally {
      await device.close();
    }
  },
});

async function textFile(file: string, what: string, io: Io): Promise<string> {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await readInput(file, what, io));
  } catch (error) {
    if (error instanceof TypeError) throw new InvalidArgumentError(what, `${file} is not text`);
    throw error;
  }
}

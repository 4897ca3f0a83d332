import { makePlatformOwner, writeOwnerKey } from '@vouchsafe/host';
import { openSecret } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { describeOutput, writeOutputs } from '../../frame/files.js';
import { argument, flag } from '../../frame/options.js';

export const generate = command({
  description:
    'Makes a platform owner’s CA, as sevctl generate does: a self-signed OCA certificate and its private key (DER). Keep ' +
    'the key away from the hosts that it signs for.',
  arguments: {
    certificate: argument('certificate', 'where to write the certificate'),
    key: argument('key', 'where to write the private key'),
  },
  options: { force: flag('--force', 'replace a key that exists') },
  examples: [
    { line: 'platform generate owner.cert owner.key', explains: 'once for all machines of an owner' },
  ],
  async run({ certificate, key, force }): Promise<Result> {
    const owner = await makePlatformOwner();
    const der = writeOwnerKey(owner.key);
    owner.key.scalar.zero();
    const files = [
      { path: key, bytes: openSecret(der), secret: true },
      { path: certificate, bytes: owner.certificate },
    ];
    await writeOutputs(files, { overwrite: force }).finally(() => der.zero());
    return {
      exit: 0,
      json: { files: files.map(describeOutput) },
      render(screen) {
        screen.line(`Wrote ${certificate}`);
        screen.line(`Wrote ${key} (keep it secret)`);
      },
    };
  },
});

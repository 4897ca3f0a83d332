import { completeKeyRequest, describeKeyRequest } from '@vouchsafe/guest';
import { openSecret } from '@vouchsafe/sev';
import { command, type Result } from '../../../frame/command.js';
import { describeOutput, writeOutputs } from '../../../frame/files.js';
import { flag, path, required } from '../../../frame/options.js';
import { keyDevice } from './device.js';
import { keyOptions, readKeyRequest } from './key-options.js';

export const key = command({
  description:
    'Inside a SEV-SNP guest: has the secure processor derive a key of 32 bytes, the same one every time for the same ' +
    'choice, on the same chip, in the same guest. Keys are never printed.',
  arguments: {},
  options: {
    device: keyDevice,
    ...keyOptions,
    out: required(path('--out <file>', 'where to write it, mode 0600: best on a tmpfs')),
    force: flag('--force', 'replace the file if it is there'),
  },
  examples: [
    {
      line: 'guest key --fields measurement,policy,svn --out /run/key',
      explains: 'for this image and this security version or newer ones',
    },
  ],
  async run(input): Promise<Result> {
    const asked = readKeyRequest(input);
    const device = input.device();
    try {
      const request = await completeKeyRequest(device, asked);
      const secret = await device.deriveKey(request);
      const file = { path: input.out, bytes: openSecret(secret), secret: true };
      const json = { boundTo: describeKeyRequest(request), files: [describeOutput(file)] };
      await writeOutputs([file], { overwrite: input.force }).finally(() => secret.zero());
      return {
        exit: 0,
        json,
        render(screen) {
          screen.line(`Wrote ${input.out} (keep it secret). The key depends on:`);
          for (const each of json.boundTo) screen.line(`  ${each}`);
        },
      };
    } finally {
      await device.close();
    }
  },
});

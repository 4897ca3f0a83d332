import { initDataDigest, parseInitData } from '@vouchsafe/protocol';
import { toBase64, toHex } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { argument } from '../../frame/options.js';
import { harmless } from '../../frame/screen.js';
import { readInitData } from './input.js';

export const digest = command({
  description:
    'Computes what HOST_DATA has to be for a guest that gets this init-data: the hash that the document names, of all its ' +
    'bytes as they are, cut to 32.',
  arguments: { file: argument('file', 'the document, a pod’s annotation or a disk; - is standard input') },
  options: {},
  examples: [
    { line: 'init-data digest init-data.toml', explains: 'for sev-snp-guest,host-data=… and the broker' },
  ],
  async run({ file }, { io }): Promise<Result> {
    const { toml, form } = await readInitData(file, io);
    const bytes = await initDataDigest(toml);
    const { algorithm, data } = parseInitData(toml);
    return {
      exit: 0,
      json: { hostData: toHex(bytes), base64: toBase64(bytes), algorithm, form, files: Object.keys(data) },
      render(screen) {
        screen.line(toHex(bytes));
        screen.facts([
          ['base64', toBase64(bytes)],
          ['hash', algorithm],
          ['files', harmless(Object.keys(data).join(', '))],
        ]);
      },
    };
  },
});

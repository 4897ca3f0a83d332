import { buildGuestFirmware } from '@vouchsafe/guest';
import { command, type Result } from '../../frame/command.js';
import { describeOutput, writeOutputs } from '../../frame/files.js';
import { argument } from '../../frame/options.js';

export const firmware = command({
  description:
    'Writes the small firmware image that guests of the software machine boot: valid footers, an area for secrets and one ' +
    'for the hashes of kernel, initrd and command line. On real hosts use OVMF.',
  arguments: { file: argument('file', 'where to write it') },
  options: {},
  examples: [
    { line: 'guest firmware guest.fd', explains: 'for digest, broker serve and host serve --software' },
  ],
  async run({ file: path }): Promise<Result> {
    const file = { path, bytes: buildGuestFirmware() };
    await writeOutputs([file], { overwrite: true });
    return {
      exit: 0,
      json: { files: [describeOutput(file)] },
      render: (screen) => screen.line(`Wrote ${path}: ${file.bytes.length} bytes`),
    };
  },
});

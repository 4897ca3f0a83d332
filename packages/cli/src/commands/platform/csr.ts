import { command, type Result } from '../../frame/command.js';
import { describeOutput, writeOutputs } from '../../frame/files.js';
import { argument } from '../../frame/options.js';
import { processorOptions, withProcessor } from './processor.js';

export const csr = command({
  description:
    'Writes the platform’s PEK without signatures (PEK_CSR), for its owner to sign somewhere else.',
  arguments: { file: argument('file', 'where to write it') },
  options: processorOptions,
  examples: [
    { line: 'platform csr pek_csr.cert', explains: 'then, where the owner’s key is: platform sign' },
  ],
  run: (input) =>
    withProcessor(input, async ({ platform }): Promise<Result> => {
      const file = { path: input.file, bytes: await platform.signingRequest() };
      await writeOutputs([file], { overwrite: true });
      return {
        exit: 0,
        json: { files: [describeOutput(file)] },
        render: (screen) => screen.line(`Wrote ${file.path}`),
      };
    }),
});

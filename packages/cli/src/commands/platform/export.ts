import { buildExport, parseChainFiles } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { describeOutput, writeOutputs } from '../../frame/files.js';
import { argument, flag, text } from '../../frame/options.js';
import { processorOptions, withProcessor } from './processor.js';

export const exportChain = command({
  description:
    'Writes the platform’s certificates to a file, as sevctl export does: PDH, PEK, OCA and the CEK as the key service ' +
    'signed it; with --full also ASK and ARK.',
  arguments: { file: argument('file', 'where to write them') },
  options: {
    ...processorOptions,
    full: flag('-f, --full', 'ASK and ARK, too'),
    unsigned: flag('--unsigned', 'leave the CEK as the chip exports it, and ask no key service'),
    kds: text(
      '--kds <url>',
      'key service to ask for the CEK; "amd" is AMD’s, the default for a real processor',
    ),
  },
  examples: [
    { line: 'platform export --full sev.chain', explains: 'for a guest owner to verify' },
    {
      line: 'platform export --software .vouchsafe/processor --full sev.chain',
      explains: 'the same of a software processor',
    },
  ],
  run: (input, { progress }) =>
    withProcessor(input, async ({ platform, endorsement }): Promise<Result> => {
      const { pdh, chain } = await platform.export();
      const own = parseChainFiles([
        { name: 'PDH', bytes: pdh },
        { name: 'chain', bytes: chain },
      ]);
      progress.step('asking for the endorsement of the chip');
      const endorsed = input.unsigned && !input.full ? undefined : await endorsement(input.kds);
      const whole =
        endorsed === undefined
          ? own
          : parseChainFiles([
              ...(own.pdh === undefined || own.pek === undefined || own.oca === undefined
                ? []
                : [own.pdh, own.pek, own.oca].map(({ usage, raw }) => ({ name: usage, bytes: raw }))),
              { name: 'CEK', bytes: input.unsigned ? (own.cek?.raw ?? endorsed.cek) : endorsed.cek },
              { name: 'ASK and ARK', bytes: endorsed.askArk },
            ]);
      const file = { path: input.file, bytes: buildExport(whole, { full: input.full }) };
      await writeOutputs([file], { overwrite: true });
      return {
        exit: 0,
        json: { files: [describeOutput(file)], full: input.full, signed: !input.unsigned },
        render: (screen) => screen.line(`Wrote ${file.path}: ${file.bytes.length} bytes`),
      };
    }),
});

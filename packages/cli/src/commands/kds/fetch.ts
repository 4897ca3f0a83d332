import { generations, InvalidArgumentError } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { describeOutput, writeOutputs } from '../../frame/files.js';
import { argument, choice, hex } from '../../frame/options.js';
import { keyServiceOptions, openKeyService } from './service.js';

export const fetch = command({
  description:
    'Fetches a certificate from AMD’s key service, or from one with the same paths: the CEK of a chip (--chip-id), or ' +
    'ASK and ARK of a generation (--generation). What comes back is not verified: `chain verify` does that.',
  arguments: { file: argument('file', 'where to write it') },
  options: {
    ...keyServiceOptions,
    chipId: hex('--chip-id <hex>', 'the 64 bytes of GET_ID, as `platform status` shows them', 64),
    generation: choice('--generation <name>', 'whose ASK and ARK', generations),
  },
  examples: [
    { line: 'kds fetch ask_ark.cert --generation milan', explains: 'AMD’s CA for Milan' },
    {
      line: 'kds fetch cek.cert --kds http://127.0.0.1:8080 --chip-id HEX',
      explains: 'a chip’s CEK from a service of one’s own',
    },
  ],
  async run({ file, kds, cache, chipId, generation }, { progress }): Promise<Result> {
    if ((chipId === undefined) === (generation === undefined)) {
      throw new InvalidArgumentError('--chip-id', 'give either it or --generation, to say what to fetch');
    }
    const service = openKeyService({ url: kds, cache });
    progress.step('asking the key service');
    const bytes = chipId !== undefined ? await service.cek(chipId) : await service.askArk(generation!);
    const output = { path: file, bytes };
    await writeOutputs([output], { overwrite: true });
    const what = chipId !== undefined ? 'CEK' : `ASK and ARK of ${generation}`;
    return {
      exit: 0,
      json: { what, files: [describeOutput(output)] },
      render: (screen) => screen.line(`Wrote ${file}: ${what}, ${bytes.length} bytes`),
    };
  },
});

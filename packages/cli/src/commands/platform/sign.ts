import { signPek } from '@vouchsafe/host';
import { command, type Result } from '../../frame/command.js';
import { describeOutput, readEncoded, writeOutputs } from '../../frame/files.js';
import { argument } from '../../frame/options.js';
import { readOwnerFiles } from './owner-files.js';

export const sign = command({
  description:
    'Signs a platform’s PEK with the owner’s CA. Needs no secure processor: run it where the owner’s key is.',
  arguments: {
    request: argument('csr', 'what platform csr wrote'),
    certificate: argument('certificate', 'OCA certificate of the owner'),
    key: argument('key', 'its private key: DER or PEM'),
    file: argument('file', 'where to write the signed PEK'),
  },
  options: {},
  examples: [
    {
      line: 'platform sign pek_csr.cert owner.cert owner.key pek_csr.signed.cert',
      explains: 'then, on the host: platform import',
    },
  ],
  async run({ request, certificate, key, file: path }, { io }): Promise<Result> {
    const owner = await readOwnerFiles(certificate, key, io);
    const csr = await readEncoded(request, 'PEK signing request', io, [0x824]);
    const file = { path, bytes: await signPek(csr, owner).finally(() => owner.key.scalar.zero()) };
    await writeOutputs([file], { overwrite: true });
    return {
      exit: 0,
      json: { files: [describeOutput(file)] },
      render: (screen) => screen.line(`Wrote ${path}`),
    };
  },
});

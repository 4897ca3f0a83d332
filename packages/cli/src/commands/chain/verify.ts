import {
  type ApiVersion,
  InvalidArgumentError,
  type PlatformChain,
  verifyPlatformChain,
} from '@vouchsafe/sev';
import { appraisalResult, withRefusals } from '../../frame/appraisal.js';
import { command } from '../../frame/command.js';
import { readInput } from '../../frame/files.js';
import { argumentList, path, text } from '../../frame/options.js';
import { chainOptions, readChain, readOwner, trustedRoots } from './input.js';

export const verify = command({
  description:
    'Verifies the certificates of a SEV platform: PDH ← PEK ← OCA and CEK, CEK ← ASK ← ARK, down to one of AMD’s roots. ' +
    'Takes single certificates, the files of sevctl, sev-tool (its zip too) and the kernel, QMP’s answer to ' +
    'query-sev-capabilities, and base64 of any. Nothing is fetched unless --kds says so.',
  arguments: { files: argumentList('file', 'certificates of one platform, in any usual packaging') },
  options: {
    ...chainOptions,
    exportedCek: path(
      '--exported-cek <file>',
      'the CEK as the chip exports it: its body must be the signed one’s',
    ),
    minimumApi: text('--minimum-api <major.minor>', 'least API of the firmware that made the PEK'),
  },
  examples: [
    {
      line: 'chain verify sev.chain --ca ask_ark.cert',
      explains: 'what sevctl export wrote, with AMD’s CA beside it',
    },
    { line: 'chain verify certs_export.zip', explains: 'sev-tool’s export, which holds ASK and ARK' },
  ],
  run: (input, { io, progress }) =>
    withRefusals(async () => {
      if (input.kds !== undefined) progress.step(`asking ${input.kds}`);
      const chain = await readChain(input, io);
      const owner = await readOwner(input.oca, io);
      const exportedCek =
        input.exportedCek === undefined ? undefined : await readInput(input.exportedCek, 'exported CEK', io);
      const appraisal = await verifyPlatformChain(chain, {
        roots: await trustedRoots(input.root, io),
        owner,
        exportedCek,
        minimumApi: readApi(input.minimumApi),
      });
      return appraisalResult(appraisal, { json: { certificates: presentIn(chain) } });
    }),
});

const presentIn = (chain: PlatformChain) =>
  Object.entries(chain).flatMap(([role, certificate]) => (certificate === undefined ? [] : [role]));

function readApi(given: string | undefined): ApiVersion | undefined {
  if (given === undefined) return undefined;
  const [, major, minor] = /^(\d{1,3})\.(\d{1,3})$/.exec(given) ?? [];
  const version = { apiMajor: Number(major), apiMinor: Number(minor) };
  if (!(version.apiMajor <= 0xff && version.apiMinor <= 0xff)) {
    throw new InvalidArgumentError(
      '--minimum-api',
      'expected two numbers up to 255 with a point between, such as 1.49',
    );
  }
  return version;
}

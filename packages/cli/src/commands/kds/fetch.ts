import type { EndorsementRequest, KdsClient } from '@vouchsafe/kds';
import { type Generation, generations, InvalidArgumentError } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { describeOutput, writeOutputs } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { argument, choice, flag } from '../../frame/options.js';
import { keyServiceOptions, openKeyService } from './service.js';
import {
  chipIdOption,
  reportOption,
  requestsOfOptions,
  requestsOfReport,
  type Subject,
  subjectOptions,
  titleOf,
} from './subject.js';

export const fetch = command({
  description:
    'Fetches a certificate from AMD’s key service, or from one with the same paths. For SEV and SEV-ES: the CEK of a chip ' +
    '(--chip-id), or ASK and ARK of a generation (--generation). For SEV-SNP: the VCEK that signed a report (--report) or ' +
    'of a chip (--product, --chip-id, --tcb), the chain above it or its revocation list (--what). What comes back is what ' +
    'was asked for; it is not verified: `report verify` and `chain verify` do that.',
  arguments: { file: argument('file', 'where to write it') },
  options: {
    ...keyServiceOptions,
    offline: flag('--offline', 'a promise: no network; only what the cache holds is written'),
    chipId: chipIdOption,
    generation: choice('--generation <name>', 'whose ASK and ARK, for SEV and SEV-ES', generations),
    report: reportOption,
    what: choice('--what <part>', 'what to fetch for SEV-SNP (default: vek)', [
      'vek',
      'chain',
      'crl',
    ] as const),
    ...subjectOptions,
  },
  examples: [
    { line: 'kds fetch vcek.der --report report.bin', explains: 'the certificate of the key that signed it' },
    { line: 'kds fetch chain.pem --product Milan --what chain', explains: 'AMD’s ASK and ARK for Milan' },
    {
      line: 'kds fetch revoked.crl --product Genoa --key VLEK --what crl',
      explains: 'which ASVKs are revoked',
    },
    { line: 'kds fetch ask_ark.cert --generation milan', explains: 'AMD’s CA for SEV and SEV-ES on Milan' },
    {
      line: 'kds fetch cek.cert --kds http://127.0.0.1:8080 --chip-id HEX',
      explains: 'a chip’s CEK from a service of one’s own',
    },
  ],
  async run(input, { io, progress }): Promise<Result> {
    const { file, kds, cache, offline } = input;
    const fetchFrom = await plan(input, io);
    progress.step('asking the key service');
    const { what, bytes } = await fetchFrom(openKeyService({ url: kds, cache, offline }), offline);
    const output = { path: file, bytes };
    await writeOutputs([output], { overwrite: true });
    return {
      exit: 0,
      json: { what, files: [describeOutput(output)] },
      render: (screen) => screen.line(`Wrote ${file}: ${what}, ${bytes.length} bytes`),
    };
  },
});

interface Input extends Subject {
  readonly report: string | undefined;
  readonly generation: Generation | undefined;
  readonly what: 'vek' | 'chain' | 'crl' | undefined;
}

type Plan = (
  service: KdsClient,
  offline: boolean,
) => Promise<{ readonly what: string; readonly bytes: Uint8Array }>;

/** Everything that the command line can be wrong about is found before anything is asked. */
async function plan(input: Input, io: Io): Promise<Plan> {
  const { report, generation, chipId, product, tcb, key, what } = input;
  const isSnp = [report, product, tcb, key, what].some((each) => each !== undefined);
  if (!isSnp) return planLegacy(chipId, generation);
  if (generation !== undefined)
    throw new InvalidArgumentError(
      '--generation',
      'it is for SEV and SEV-ES: for SEV-SNP name the --product',
    );
  if (report !== undefined && (chipId !== undefined || tcb !== undefined || key !== undefined))
    throw new InvalidArgumentError('--report', 'it says chip, TCB version and kind of key: leave those out');
  const requests =
    report === undefined ? requestsOfOptions(input) : await requestsOfReport(report, input, io);
  const request: EndorsementRequest | undefined = requests[what ?? 'vek'];
  if (request === undefined) {
    throw report === undefined
      ? new InvalidArgumentError(
          '--chip-id',
          'it has to be given with --tcb, or --report, or --what chain or crl',
        )
      : new InvalidArgumentError('--report', 'the service cannot give the key that signed this report', {
          hint: 'a VLEK, and the VCEK of a masked chip id, come from the host: its certificate table has them',
        });
  }
  // A list is fetched to know what is revoked now; a certificate never changes.
  return async (service, offline) => ({
    what: titleOf(request),
    bytes: await service.endorsement(request, { refresh: request.what === 'crl' && !offline }),
  });
}

function planLegacy(chipId: Uint8Array | undefined, generation: Generation | undefined): Plan {
  if (chipId !== undefined && generation === undefined)
    return async (service) => ({ what: 'CEK', bytes: await service.cek(chipId) });
  if (generation !== undefined && chipId === undefined) {
    return async (service) => ({
      what: `ASK and ARK of ${generation}`,
      bytes: await service.askArk(generation),
    });
  }
  throw new InvalidArgumentError('--chip-id', 'give either it or --generation, to say what to fetch', {
    hint: 'for SEV-SNP give --report, or --product and more',
  });
}

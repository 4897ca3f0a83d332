import {
  describeGuestFeatures,
  explainDigest,
  fromBase64,
  fromHex,
  InvalidArgumentError,
  type LaunchCombination,
  type SearchProgress,
  toHex,
  vmmTypes,
} from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { readInput } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';
import { choice, number, path, repeated, required, text, word } from '../../frame/options.js';
import type { Progress } from '../../frame/progress.js';
import type { Screen } from '../../frame/screen.js';
import { type CandidateFiles, commandLinesOf, noCandidates, readCandidateFolder } from './candidates.js';
import { readFeatures } from './options.js';
import { readCounts, readExpected, readVcpuTypes } from './ranges.js';

export const explain = command({
  description:
    'Finds out which launch gives a measurement that was not expected: tries every combination of firmware, kernel, ' +
    'initrd and command line in a folder with ranges of vCPU counts, vCPU types, VMMs, guest features and FPU states, ' +
    'and says how the one that fits differs from the one expected. Exit status 1 when nothing fits.',
  arguments: {},
  options: {
    measurement: required(
      text('--measurement <digest>', 'hex or base64: 48 bytes of SEV-SNP, or 32 of SEV or SEV-ES'),
    ),
    candidates: path(
      '--candidates <dir>',
      'folder of files that may have been launched; their contents tell what they are',
    ),
    firmware: repeated(path('--firmware <file>', 'a firmware image to try')),
    kernel: repeated(path('--kernel <file>', 'a kernel to try')),
    initrd: repeated(path('--initrd <file>', 'an initrd to try')),
    append: repeated(text('--append <text>', 'a command line to try')),
    appendFile: repeated(path('--append-file <file>', 'a file of command lines to try, one a line')),
    vcpus: text('--vcpus <range>', 'numbers of vCPUs, such as 1-8,16 (default: 1-64)'),
    vcpuType: repeated(text('--vcpu-type <type>', 'a vCPU type to try (default: all known)')),
    vcpuSig: repeated(number('--vcpu-sig <n>', 'a vCPU signature to try', word)),
    vmmType: repeated(choice('--vmm-type <type>', 'a VMM to try, of these, or all', vmmTypes)),
    guestFeatures: repeated(
      text('--guest-features <n>', 'guest features to try (default: 0x1, 0x21, 0x201, 0x221)'),
    ),
    vmsaFpu: repeated(
      choice('--vmsa-fpu <state>', 'MXCSR and FCW to try, or both', ['set', 'zero'] as const),
    ),
    expect: repeated(
      text(
        '--expect <pair>',
        'what was expected, to be told the difference: firmware=, kernel=, initrd= or append= and the name of a ' +
          'candidate or none; vcpus=, vcpu-type=, vcpu-sig=, vmm-type=, guest-features=, vmsa-fpu= and a value',
      ),
    ),
  },
  examples: [
    {
      line: 'digest explain --measurement 8f2d… --candidates images --expect vcpus=4 --expect append=cmdline.txt',
      explains: 'what was launched, and how it differs from what should have been',
    },
  ],
  async run(input, { io, progress }): Promise<Result> {
    const files = await readFiles(input, io);
    if (files.firmware.length === 0) {
      throw new InvalidArgumentError('--candidates', 'no firmware image is among the candidates', {
        hint: 'put one into the folder, or give --firmware',
      });
    }
    const orAll = <T>(given: readonly T[]) => (given.length === 0 ? undefined : given);
    const measurement = readMeasurement(input.measurement);
    const expected = readExpected(input.expect);
    const { matches, tried, searched, untried } = await explainDigest({
      ...files,
      measurement,
      vcpus: input.vcpus === undefined ? undefined : readCounts(input.vcpus, '--vcpus'),
      vcpuTypes: readVcpuTypes(input.vcpuType, input.vcpuSig),
      vmmTypes: orAll(input.vmmType),
      guestFeatures: orAll(input.guestFeatures.map((each) => readFeatures(each, '--guest-features'))),
      vmsaFpus: orAll(input.vmsaFpu),
      ...(expected === undefined ? {} : { expected }),
      onProgress: showProgress(progress),
    });
    const { ignored } = files;
    return {
      exit: matches.length > 0 ? 0 : 1,
      json: {
        measurement: toHex(measurement),
        found: matches.length > 0,
        matches: matches.map(({ combination, differences }) => ({
          ...toJson(combination),
          ...(expected === undefined ? {} : { differences }),
        })),
        tried,
        searched,
        untried,
        ignored,
      },
      render(screen) {
        for (const { combination, differences } of matches) {
          showMatch(screen, combination);
          if (expected !== undefined) showDifferences(screen, differences);
        }
        if (matches.length === 0) showNothing(screen, tried, searched);
        for (const { name, reason } of untried) {
          screen.line(`${screen.paint('warning', 'Not tried, or not with everything:')} ${name}: ${reason}`);
        }
        if (ignored.length > 0) screen.line(`Not recognised: ${ignored.join(', ')}`);
      },
    };
  },
});

interface Named {
  readonly candidates: string | undefined;
  readonly firmware: readonly string[];
  readonly kernel: readonly string[];
  readonly initrd: readonly string[];
  readonly append: readonly string[];
  readonly appendFile: readonly string[];
}

/** The folder's files, and those that are named one by one. */
async function readFiles(named: Named, io: Io): Promise<CandidateFiles> {
  const found =
    named.candidates === undefined ? noCandidates() : await readCandidateFolder(named.candidates, io);
  const read = (paths: readonly string[], what: string) =>
    Promise.all(paths.map(async (name) => ({ name, bytes: await readInput(name, what, io) })));
  found.firmware.push(...(await read(named.firmware, 'firmware image')));
  found.kernels.push(...(await read(named.kernel, 'kernel')));
  found.initrds.push(...(await read(named.initrd, 'initrd')));
  found.commandLines.push(...named.append.map((line) => ({ name: JSON.stringify(line), text: line })));
  for (const { name, bytes } of await read(named.appendFile, 'command lines')) {
    found.commandLines.push(...commandLinesOf(name, bytes));
  }
  return found;
}

function readMeasurement(given: string): Uint8Array {
  const compact = given.trim().replace(/^0x/i, '');
  return /^(?:[0-9a-fA-F]{64}|[0-9a-fA-F]{96})$/.test(compact)
    ? fromHex(compact, '--measurement')
    : fromBase64(compact, '--measurement');
}

const barWidth = 30;

function showProgress(progress: Progress): (state: SearchProgress) => void {
  let shown = -1;
  return ({ tried, total }) => {
    const percent = total === 0 ? 100 : Math.floor((100 * tried) / total);
    if (percent === shown) return;
    shown = percent;
    const full = Math.round((barWidth * percent) / 100);
    const bar = '#'.repeat(full) + '-'.repeat(barWidth - full);
    progress.step(`[${bar}] ${percent} %  ${tried} of ${total} launches`);
  };
}

function toJson({ vcpuType, guestFeatures, ...rest }: LaunchCombination): Record<string, unknown> {
  return {
    ...rest,
    ...(vcpuType === undefined ? {} : { vcpuType: { ...vcpuType, signature: hex(vcpuType.signature) } }),
    ...(guestFeatures === undefined ? {} : { guestFeatures: hex(guestFeatures) }),
  };
}

const modeTitles = { sev: 'SEV', seves: 'SEV-ES', snp: 'SEV-SNP' } as const;

function showMatch(screen: Screen, found: LaunchCombination): void {
  const { vcpus, vcpuType, vmmType, guestFeatures, vmsaFpu } = found;
  const names = (of: readonly string[]) => of.join(' = ');
  screen.line(screen.paint('good', `Found: a ${modeTitles[found.mode]} guest`));
  screen.facts([
    ['firmware', names(found.firmware)],
    ['kernel', found.kernel[0] === 'none' ? 'none is measured' : names(found.kernel)],
    ...(found.kernel[0] === 'none'
      ? []
      : ([
          ['initrd', names(found.initrd)],
          ['command line', `${names(found.commandLine)}: ${JSON.stringify(found.commandLineText)}`],
        ] as const)),
    ...(vcpus === undefined ? [] : ([['vCPUs', String(vcpus)]] as const)),
    ...(vcpuType === undefined
      ? []
      : ([['vCPU type', `${names(vcpuType.names)} (signature ${hex(vcpuType.signature)})`]] as const)),
    ...(vmmType === undefined ? [] : ([['VMM', vmmType]] as const)),
    ...(guestFeatures === undefined
      ? []
      : ([['guest features', describeGuestFeatures(guestFeatures)]] as const)),
    ...(vmsaFpu === undefined ? [] : ([['MXCSR and FCW', vmsaFpu]] as const)),
  ]);
  screen.line();
}

function showDifferences(screen: Screen, differences: readonly string[]): void {
  if (differences.length === 0) screen.line('It is the launch that was expected.');
  for (const sentence of differences) screen.line(`${screen.paint('warning', 'differs:')} ${sentence}`);
  screen.line();
}

function showNothing(screen: Screen, tried: number, searched: readonly string[]): void {
  screen.line(screen.paint('bad', `Nothing matches: none of ${tried} launches gives this measurement.`));
  screen.line();
  screen.line('Searched:');
  for (const phrase of searched) screen.line(`  ${phrase}`);
  screen.line();
  screen.line('What is often the reason:');
  for (const reason of reasons) screen.line(`  - ${reason}`);
}

const reasons = [
  'the firmware is another build, or the file is not the code volume alone but code and variables together',
  'the command line differs by white space, or the VMM adds to it',
  'the host runs with features, a vCPU type or a number of vCPUs outside the ranges above',
  'an SVSM or an IGVM file was launched, which this search does not try',
];

const hex = (value: number | bigint) => `0x${value.toString(16)}`;

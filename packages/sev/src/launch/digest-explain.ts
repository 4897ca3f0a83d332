import { InvalidArgumentError } from '../errors.js';
import {
  type BootChoice,
  type LaunchCandidates,
  type LaunchChoices,
  readCandidates,
  type VcpuChoice,
} from './digest-candidates.js';
import { differencesInWords, type ExpectedLaunch, type LaunchCombination } from './digest-differences.js';
import { type Found, legacySearch, snpSearch, type Untried } from './digest-search.js';
import { describeGuestFeatures } from './guest-features.js';

export interface ExplainDigestOptions extends LaunchCandidates {
  /** 48 bytes are a measurement of SEV-SNP, 32 bytes a launch digest of SEV or SEV-ES. */
  readonly measurement: Uint8Array;
  /** What should have been launched: with it, each match says how it differs. */
  readonly expected?: ExpectedLaunch;
  /** Called now and then; the search waits for what it returns, so that a caller can let other work in. */
  onProgress?(progress: SearchProgress): void | Promise<void>;
}

/** In launches. */
export interface SearchProgress {
  readonly tried: number;
  readonly total: number;
}

export interface DigestExplanation {
  /** Usually one or none. */
  readonly matches: readonly {
    readonly combination: LaunchCombination;
    /** One sentence each; empty where nothing was expected, or just this. */
    readonly differences: readonly string[];
  }[];
  /** How many launches were tried. */
  readonly tried: number;
  /** What was searched, one phrase a dimension. */
  readonly searched: readonly string[];
  /** Candidates that could not be launched, or not with everything. */
  readonly untried: readonly Untried[];
}

/** What takes minutes already; ranges that multiply to more are a mistake. */
const mostLaunches = 1_000_000_000;

/**
 * Finds the launches that give a digest: every combination of the candidates is calculated, and what combinations have in
 * common is calculated once.
 * @throws InvalidArgumentError for a digest of another length, an empty or impossible range, an expectation that names no
 * candidate, or more than a thousand million combinations
 */
export async function explainDigest(options: ExplainDigestOptions): Promise<DigestExplanation> {
  const { measurement, expected, onProgress } = options;
  if (measurement.length !== 32 && measurement.length !== 48) {
    throw new InvalidArgumentError(
      'measurement',
      `expected 48 bytes (SEV-SNP) or 32 (SEV, SEV-ES), found ${measurement.length}`,
    );
  }
  const snp = measurement.length === 48;
  const choices = await readCandidates(options);
  const lines = options.commandLines ?? [];
  if (expected !== undefined) requireKnown(expected, choices);

  const untried = new Map<string, Untried>();
  const search = snp ? snpSearch : legacySearch;
  const searches = choices.firmware.flatMap((firmware) => {
    const keep = (why: Untried) => untried.set(`${why.name} ${why.reason}`, why);
    return search(firmware, choices, keep) ?? [];
  });
  const total = searches.reduce((sum, each) => sum + each.total, 0);
  if (total > mostLaunches) {
    throw new InvalidArgumentError('candidates', `${total} combinations are more than can be tried`, {
      hint: 'narrow the ranges of vCPUs, vCPU types, VMM types or guest features',
    });
  }

  const found: Found[] = [];
  let tried = 0;
  await onProgress?.({ tried, total });
  for (const each of searches) {
    await each.run(measurement, {
      found: (match) => void found.push(match),
      async tried(launches) {
        tried += launches;
        await onProgress?.({ tried, total });
      },
    });
  }
  return {
    matches: found.map((match) => {
      const combination = combinationOf(match);
      const differences = expected === undefined ? [] : differencesInWords(combination, expected, lines);
      return { combination, differences };
    }),
    tried,
    searched: searchedInWords(choices, snp),
    untried: [...untried.values()],
  };
}

function combinationOf({ mode, firmware, boot, cpus }: Found): LaunchCombination {
  const { kernel, initrd, commandLine, text } = boot;
  const files = { mode, firmware: firmware.names, kernel, initrd, commandLine, commandLineText: text };
  return cpus === undefined ? files : { ...files, vcpus: cpus.vcpus, ...cpus.choice };
}

/** An expectation that no candidate can meet is a slip of the pen, not a difference. */
function requireKnown(expected: ExpectedLaunch, { firmware, boots }: LaunchChoices): void {
  const named = (part: 'kernel' | 'initrd' | 'commandLine') =>
    boots.flatMap((boot: BootChoice) => boot[part]);
  const known = {
    firmware: firmware.flatMap(({ names }) => names),
    kernel: named('kernel'),
    initrd: named('initrd'),
    commandLine: named('commandLine'),
  };
  for (const part of ['firmware', 'kernel', 'initrd', 'commandLine'] as const) {
    const name = expected[part];
    if (name === undefined || known[part].includes(name)) continue;
    const names = [...new Set(known[part])].join(', ');
    throw new InvalidArgumentError(`expected ${part}`, `${JSON.stringify(name)} is not a candidate`, {
      hint: `candidates: ${names}`,
    });
  }
}

function searchedInWords(choices: LaunchChoices, snp: boolean): string[] {
  const { firmware, boots, vcpus } = choices;
  const states = snp ? choices.snp : choices.seves;
  const distinct = (part: 'kernel' | 'initrd' | 'commandLine') => [
    ...new Set(boots.map((boot) => boot[part].join(' = '))),
  ];
  const of = <T>(read: (state: VcpuChoice) => T, show: (value: T & {}) => string) => [
    ...new Set(states.map(read).flatMap((value) => (value == null ? [] : [show(value)]))),
  ];
  const list = (title: string, names: readonly string[]) => `${title}: ${names.join(', ')}`;
  return [
    list(
      'firmware',
      firmware.map(({ names }) => names.join(' = ')),
    ),
    list('kernel', distinct('kernel')),
    list('initrd', distinct('initrd')),
    list('command line', distinct('commandLine')),
    `vCPUs: ${rangesInWords(vcpus)}`,
    list(
      'vCPU type',
      of(({ vcpuType }) => vcpuType?.names[0], String),
    ),
    list(
      'VMM',
      of(({ vmmType }) => vmmType, String),
    ),
    list(
      'guest features',
      of(({ guestFeatures }) => guestFeatures, describeGuestFeatures),
    ),
    list(
      'MXCSR and FCW',
      of(({ vmsaFpu }) => vmsaFpu, String),
    ),
  ].filter((phrase) => !phrase.endsWith(': '));
}

/** `1 to 64, 128` */
function rangesInWords(counts: readonly number[]): string {
  const ranges: [first: number, last: number][] = [];
  for (const count of counts) {
    const open = ranges.at(-1);
    if (open !== undefined && open[1] === count - 1) open[1] = count;
    else ranges.push([count, count]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first} to ${last}`)).join(', ');
}

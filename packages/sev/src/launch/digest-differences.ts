import type { CommandLineCandidate } from './digest-candidates.js';
import { nothing } from './digest-candidates.js';
import { describeGuestFeatures, guestFeatureNames } from './guest-features.js';
import { type VmmType, type VmsaFpu, vmmProfileOf } from './vmm-types.js';

/** One launch that gives the digest. Candidates with equal contents are one: all their names are given. */
export interface LaunchCombination {
  readonly mode: 'sev' | 'seves' | 'snp';
  readonly firmware: readonly string[];
  /** `none` where no kernel is measured; the same for initrd and command line. */
  readonly kernel: readonly string[];
  readonly initrd: readonly string[];
  readonly commandLine: readonly string[];
  /** The command line itself; empty where there is none. */
  readonly commandLineText: string;
  /** Absent for SEV, which does not measure vCPUs; the same for the next four. */
  readonly vcpus?: number;
  /** Absent also where the VMM does not tell it before the state is measured. */
  readonly vcpuType?: { readonly names: readonly string[]; readonly signature: number };
  readonly vmmType?: VmmType;
  readonly guestFeatures?: bigint;
  readonly vmsaFpu?: VmsaFpu;
}

/** What was expected to be launched. Parts that are left out may be anything. Names are those of the candidates. */
export interface ExpectedLaunch {
  readonly firmware?: string | undefined;
  /** `none` where none is expected to be measured, here and in the next two. */
  readonly kernel?: string | undefined;
  readonly initrd?: string | undefined;
  readonly commandLine?: string | undefined;
  readonly vcpus?: number | undefined;
  /** CPUID function 1, EAX. */
  readonly vcpuSignature?: number | undefined;
  readonly vmmType?: VmmType | undefined;
  readonly guestFeatures?: bigint | undefined;
  readonly vmsaFpu?: VmsaFpu | undefined;
}

/** How a launch differs from the expected one, one sentence a difference. */
export function differencesInWords(
  found: LaunchCombination,
  expected: ExpectedLaunch,
  commandLines: readonly CommandLineCandidate[],
): string[] {
  const { firmware, kernel, initrd, vcpus, vcpuSignature, vmmType, guestFeatures, vmsaFpu } = expected;
  const sentences = [
    differs(found.firmware, firmware) && `The firmware is ${named(found.firmware)} instead of ${firmware}.`,
    differs(found.kernel, kernel) && kernelSentence(found, kernel),
    // Without a kernel nothing else of the boot is measured, which the sentence before says.
    found.kernel[0] !== nothing &&
      differs(found.initrd, initrd) &&
      `The initrd is ${named(found.initrd)} instead of ${initrd}.`,
    found.kernel[0] !== nothing && commandLineSentence(found, expected.commandLine, commandLines),
    isOther(found.vcpus, vcpus) && `${cpus(found.vcpus)} instead of ${vcpus}.`,
    isOther(found.vcpuType?.signature, vcpuSignature) &&
      `The vCPU type is ${named(found.vcpuType?.names ?? [])} (signature ${hex(found.vcpuType?.signature ?? 0)}) ` +
        `instead of one with signature ${hex(vcpuSignature ?? 0)}.`,
    isOther(found.vmmType, vmmType) && vmmSentence(found.vmmType, vmmType),
    isOther(found.guestFeatures, guestFeatures) && featuresSentence(found.guestFeatures, guestFeatures),
    isOther(found.vmsaFpu, vmsaFpu) && fpuSentence(found.vmsaFpu),
  ];
  return sentences.filter((sentence) => typeof sentence === 'string');
}

const differs = (names: readonly string[], expected: string | undefined): expected is string =>
  expected !== undefined && !names.includes(expected);

const isOther = <T>(found: T | undefined, expected: T | undefined): boolean =>
  found !== undefined && expected !== undefined && found !== expected;

const named = (names: readonly string[]) => names.join(' = ');
const hex = (value: number | bigint) => `0x${value.toString(16).padStart(8, '0')}`;
const cpus = (count: number | undefined) => (count === 1 ? '1 vCPU' : `${count} vCPUs`);

function kernelSentence({ kernel }: LaunchCombination, expected: string): string {
  if (kernel.includes(nothing)) {
    return (
      `No kernel is measured, although ${expected} is expected: QEMU measures it with kernel-hashes=on only, ` +
      'and without that the host may boot what it likes.'
    );
  }
  if (expected === nothing) return `The kernel ${named(kernel)} is measured, although none is expected.`;
  return `The kernel is ${named(kernel)} instead of ${expected}.`;
}

function commandLineSentence(
  found: LaunchCombination,
  expected: string | undefined,
  commandLines: readonly CommandLineCandidate[],
): string | undefined {
  if (!differs(found.commandLine, expected)) return undefined;
  const text = commandLines.find(({ name }) => name === expected)?.text ?? '';
  const beginning = `The command line is ${named(found.commandLine)} instead of ${expected}`;
  if (text === '' || found.commandLineText === '') return `${beginning}.`;
  const [has, lacks] = [wordsBeside(found.commandLineText, text), wordsBeside(text, found.commandLineText)];
  const words = [
    ...(has.length === 0 ? [] : [`it has ${quoted(has)}`]),
    ...(lacks.length === 0 ? [] : [`it lacks ${quoted(lacks)}`]),
  ];
  return `${beginning}: ${words.length === 0 ? 'the words are the same, their order or the white space is not' : words.join(', ')}.`;
}

/** Words of `text` that are not in `other`, each as often as it is there more. */
function wordsBeside(text: string, other: string): string[] {
  const rest = split(other);
  return split(text).filter((word) => {
    const at = rest.indexOf(word);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
}

const split = (text: string) => text.split(/\s+/).filter((word) => word !== '');
const quoted = (words: readonly string[]) => words.map((word) => JSON.stringify(word)).join(', ');

function vmmSentence(found: VmmType = 'QEMU', expected: VmmType = 'QEMU'): string {
  return `It was launched by ${vmmProfileOf(found).title} instead of ${vmmProfileOf(expected).title}.`;
}

function featuresSentence(found = 0n, expected = 0n): string {
  const [on, off] = [found & ~expected, expected & ~found];
  const changes = [
    ...(on === 0n ? [] : [`${guestFeatureNames(on)} on`]),
    ...(off === 0n ? [] : [`${guestFeatureNames(off)} off`]),
  ];
  const debugSwap = (on & 0x20n) === 0n ? '' : ' Linux 6.6 and 6.7 switch DebugSwap on by themselves.';
  return (
    `The guest features are ${describeGuestFeatures(found)} instead of ${describeGuestFeatures(expected)}: ` +
    `${changes.join(', ')}.${debugSwap}`
  );
}

function fpuSentence(found: VmsaFpu | undefined): string {
  return found === 'zero'
    ? 'MXCSR and FCW are zero in the VMSA, as on hosts before about Linux 6.10, instead of set.'
    : 'MXCSR and FCW are set in the VMSA, as on hosts from about Linux 6.10 on, instead of zero.';
}

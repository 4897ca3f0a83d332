import {
  type ExpectedLaunch,
  InvalidArgumentError,
  type VcpuCandidate,
  vcpuSignatureOf,
  vmmTypes,
} from '@vouchsafe/sev';
import { type NumberLimits, readNumber, word } from '../../frame/options.js';
import { readFeatures } from './options.js';

/** Reading the ranges that `digest explain` searches and the launch that was expected. */

const vcpuLimits: NumberLimits = { least: 1, most: 4096 };

/** `1-64,128` @throws InvalidArgumentError */
export function readCounts(given: string, name: string): number[] {
  return given.split(',').flatMap((part) => {
    const [first = '', last = first, ...more] = part.split('-');
    if (more.length > 0)
      throw new InvalidArgumentError(name, `expected numbers and ranges such as 1-64, found ${part}`);
    const [from, to] = [readNumber(first, name, vcpuLimits), readNumber(last, name, vcpuLimits)];
    if (to < from) throw new InvalidArgumentError(name, `${part} ends before it begins`);
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
}

/** The vCPU types that are named or given by signature; undefined for none, which means all that are known. */
export function readVcpuTypes(
  types: readonly string[],
  signatures: readonly number[],
): VcpuCandidate[] | undefined {
  const named = types.map((name) => ({ name, signature: vcpuSignatureOf(name) }));
  const numbered = signatures.map((signature) => ({ name: `0x${signature.toString(16)}`, signature }));
  const all = [...named, ...numbered];
  return all.length === 0 ? undefined : all;
}

const readers: Readonly<Record<string, (value: string) => ExpectedLaunch>> = {
  firmware: (firmware) => ({ firmware }),
  kernel: (kernel) => ({ kernel }),
  initrd: (initrd) => ({ initrd }),
  append: (commandLine) => ({ commandLine }),
  vcpus: (value) => ({ vcpus: readNumber(value, '--expect vcpus', vcpuLimits) }),
  'vcpu-type': (value) => ({ vcpuSignature: vcpuSignatureOf(value) }),
  'vcpu-sig': (value) => ({ vcpuSignature: readNumber(value, '--expect vcpu-sig', word) }),
  'vmm-type': (value) => ({ vmmType: oneOf(vmmTypes, value, 'vmm-type') }),
  'guest-features': (value) => ({ guestFeatures: readFeatures(value, '--expect guest-features') }),
  'vmsa-fpu': (value) => ({ vmsaFpu: oneOf(['set', 'zero'] as const, value, 'vmsa-fpu') }),
};

/** `vcpus=4` and the like; undefined where nothing is expected. @throws InvalidArgumentError */
export function readExpected(given: readonly string[]): ExpectedLaunch | undefined {
  if (given.length === 0) return undefined;
  return Object.assign({}, ...given.map(readExpectation)) as ExpectedLaunch;
}

function readExpectation(given: string): ExpectedLaunch {
  const at = given.indexOf('=');
  const key = given.slice(0, Math.max(at, 0));
  const read = Object.hasOwn(readers, key) ? readers[key] : undefined;
  if (read === undefined) {
    throw new InvalidArgumentError(
      '--expect',
      `expected one of ${Object.keys(readers).join(', ')}, = and a value`,
    );
  }
  return read(given.slice(at + 1));
}

function oneOf<const W extends readonly string[]>(words: W, value: string, key: string): W[number] {
  const found = words.find((each) => each === value);
  if (found === undefined) {
    throw new InvalidArgumentError(`--expect ${key}`, `expected one of ${words.join(', ')}`);
  }
  return found;
}

import { InvalidArgumentError } from '@vouchsafe/sev';
import type { Option } from '../../frame/command.js';
import { parsed } from '../../frame/options.js';

/** Options that demand single bits: one for each, named after the word that the bit stands in. */

type FlagKey<P extends string, K extends string> = `${P}${Capitalize<K>}`;
function flagKey<P extends string, K extends string>(prefix: P, name: K): FlagKey<P, K> {
  return `${prefix}${name[0]!.toUpperCase()}${name.slice(1)}` as FlagKey<P, K>;
}

/** An option for each bit: `--policy-smt set` or `clear`. */
export function flagOptions<P extends string, K extends string>(
  prefix: P,
  names: Readonly<Record<K, string>>,
  ranges: Readonly<Record<string, { readonly label: string; readonly meaning: string }>>,
): Record<FlagKey<P, K>, Option<boolean | undefined>> {
  const options = (Object.entries(names) as [K, string][]).map(([name, spelled]) => {
    const { label, meaning } = ranges[name]!;
    const help = `set or clear: ${label}, ${meaning}`;
    return [flagKey(prefix, name), parsed(`--${prefix}-${spelled} <state>`, help, readState)];
  });
  return Object.fromEntries(options) as Record<FlagKey<P, K>, Option<boolean | undefined>>;
}

/** What those options gave, by the names of the bits. */
export function flagsOf<P extends string, K extends string>(
  prefix: P,
  names: Readonly<Record<K, string>>,
  values: Readonly<Record<FlagKey<P, K>, boolean | undefined>>,
): Partial<Record<K, boolean>> {
  const flags = (Object.keys(names) as K[]).map((name) => [name, values[flagKey(prefix, name)]]);
  return Object.fromEntries(flags) as Partial<Record<K, boolean>>;
}

function readState(given: string, name: string): boolean {
  if (given === 'set') return true;
  if (given === 'clear') return false;
  throw new InvalidArgumentError(name, 'expected set or clear');
}

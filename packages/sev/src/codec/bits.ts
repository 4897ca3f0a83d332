import { InvalidArgumentError, MalformedError } from '../errors.js';
import type { Location, Note } from './field.js';

interface Range<K extends 'flag' | 'number'> {
  readonly kind: K;
  readonly low: number;
  readonly width: number;
  /** Name in the specification, for example `NODBG`. */
  readonly label: string;
  readonly meaning: string;
}

export type FlagRange = Range<'flag'>;
export type NumberRange = Range<'number'>;
type AnyRange = FlagRange | NumberRange;
export type BitValues<R extends Record<string, AnyRange>> = {
  readonly [K in keyof R]: R[K] extends FlagRange ? boolean : number;
};

/** One bit: true when set. */
export function flag(bit: number, label: string, meaning: string): FlagRange {
  return { kind: 'flag', low: bit, width: 1, label, meaning };
}

/** `width` bits from bit `low` upward, as a number (53 bits at most). */
export function bitRange(low: number, width: number, label: string, meaning: string): NumberRange {
  if (width > 53) throw new TypeError(`${label}: a range of ${width} bits is wider than a number`);
  return { kind: 'number', low, width, label, meaning };
}

/** A word of 8, 16, 32 or 64 bits whose bits have names; declared once, read, written and described from here. */
export interface Bits<T> {
  readonly name: string;
  readonly width: number;
  readonly source: string;
  /** The named ranges by property name, in the order of declaration. */
  readonly ranges: Readonly<Record<keyof T & string, AnyRange>>;
  /** Ones where no range is declared. */
  readonly reservedMask: bigint;
  /**
   * Reads the word. Reserved bits that are set are refused or noted, as declared.
   * @throws MalformedError
   */
  parse(word: number | bigint, location?: Location, notes?: Note[]): T;
  /** The word of the given values; ranges left out are zero. */
  build(values: Partial<T>): bigint;
  /** Names of the set flags and values of the ranges, for people: `NODBG, ES, API_MAJOR=1`. */
  toText(values: T): string;
}

export interface BitsOptions {
  readonly name: string;
  /** In bits. */
  readonly width: 8 | 16 | 32 | 64;
  readonly source: string;
  /** Undeclared bits: `refuse` where the specification says that they are zero; `report` where newer chips set them. */
  readonly reserved: 'refuse' | 'report';
}

export function bits<const R extends Record<string, AnyRange>>(
  options: BitsOptions,
  ranges: R,
): Bits<BitValues<R>> {
  type T = BitValues<R>;
  const entries = Object.entries(ranges) as [keyof T & string, AnyRange][];
  const declared = entries.reduce((mask, [, range]) => {
    const own = maskOf(range);
    if ((mask & own) !== 0n) throw new TypeError(`${options.name}: ${range.label} overlaps another range`);
    return mask | own;
  }, 0n);
  const all = (1n << BigInt(options.width)) - 1n;
  if ((declared & ~all) !== 0n)
    throw new TypeError(`${options.name}: a range lies beyond bit ${options.width - 1}`);
  const reservedMask = all & ~declared;
  const readers = entries.map(([key, range]) => ({
    key,
    isFlag: range.kind === 'flag',
    numberIn: readerOf(range),
  }));

  return {
    name: options.name,
    width: options.width,
    source: options.source,
    ranges,
    reservedMask,
    parse(word, location = { offset: 0 }, notes = []) {
      const value = wholeNumber(word);
      if (value === undefined || value < 0n || value > all) {
        throw new InvalidArgumentError(options.name, `expected an unsigned number of ${options.width} bits`);
      }
      const strange = value & reservedMask;
      if (strange !== 0n) {
        const where = {
          structure: location.path ?? options.name,
          field: 'reserved bits',
          offset: location.offset,
        };
        const found = `0x${strange.toString(16)}`;
        if (options.reserved === 'refuse') throw new MalformedError({ ...where, expected: 'zero', found });
        notes.push({ ...where, found, meaning: 'bits that this version does not know' });
      }
      const values: Partial<Record<keyof T, boolean | number>> = {};
      const lowHalf = Number(value & 0xffff_ffffn);
      const highHalf = Number(value >> 32n);
      for (const { key, isFlag, numberIn } of readers) {
        const number = numberIn(lowHalf, highHalf, value);
        values[key] = isFlag ? number === 1 : number;
      }
      return values as T;
    },
    build(values) {
      return entries.reduce((word, [key, range]) => {
        const number = wholeNumber((values[key] as boolean | number | undefined) ?? 0);
        if (number === undefined || number < 0n || number >= 1n << BigInt(range.width)) {
          throw new InvalidArgumentError(
            `${options.name} ${range.label}`,
            `does not fit in ${range.width} bits`,
          );
        }
        return word | (number << BigInt(range.low));
      }, 0n);
    },
    toText(values) {
      const shown = entries.flatMap(([key, range]) => {
        const value = values[key];
        if (range.kind === 'flag') return value ? [range.label] : [];
        return value === 0 ? [] : [`${range.label}=${value}`];
      });
      return shown.length === 0 ? 'none' : shown.join(', ');
    },
  };
}

/** Reports have many flags, and numbers are many times faster than big integers: those serve what lies across bit 32. */
function readerOf({ low, width }: AnyRange): (lowHalf: number, highHalf: number, word: bigint) => number {
  const mask = 2 ** width - 1;
  if (low + width <= 32) return (lowHalf) => ((lowHalf >>> low) & mask) >>> 0;
  if (low >= 32) return (_, highHalf) => ((highHalf >>> (low - 32)) & mask) >>> 0;
  return (_low, _high, word) => Number((word >> BigInt(low)) & BigInt(mask));
}

function wholeNumber(value: boolean | number | bigint): bigint | undefined {
  return typeof value === 'number' && !Number.isInteger(value) ? undefined : BigInt(value);
}

function maskOf(range: AnyRange): bigint {
  return ((1n << BigInt(range.width)) - 1n) << BigInt(range.low);
}

import { reversed, toHex } from '../bytes.js';
import { InvalidArgumentError } from '../errors.js';
import type { Bits } from './bits.js';
import type { Field, FieldOptions, Note } from './field.js';
import { type Guid, guidFromBytes, guidToBytes } from './guid.js';
import type { Parsed, Structure } from './structure.js';

/** The kinds of field that a structure's table is made of. Integers are little-endian but where the name says `be`. */

const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const hexNumber = (value: number | bigint) => `0x${value.toString(16)}`;

/** The first byte from `start` on that is not zero: fields of zeros can be long, so only this one is shown. */
function firstNonZero(bytes: Uint8Array, start: number): { offset: number; found: string } | undefined {
  for (let offset = start; offset < bytes.length; offset++) {
    const byte = bytes[offset]!;
    if (byte !== 0) return { offset, found: hexNumber(byte) };
  }
  return undefined;
}

type Defaulted<O, T> = O extends { readonly default: T } ? 'defaulted' : 'required';

function field<T, P extends 'required' | 'defaulted' | 'reserved'>(
  row: Omit<Field<T, P>, 'presence' | 'defaultValue' | 'unit' | 'accepts'> & { accepts?: string | undefined },
  options: FieldOptions<T> | undefined,
): Field<T, P> {
  const { accepts, ...rest } = row;
  const made = {
    ...rest,
    presence: options?.default === undefined ? 'required' : 'defaulted',
    ...(accepts === undefined ? {} : { accepts }),
    ...(options?.unit === undefined ? {} : { unit: options.unit }),
    ...(options?.default === undefined ? {} : { defaultValue: options.default }),
  };
  return made as unknown as Field<T, P>;
}

interface NumberOptions extends FieldOptions<number> {
  /** The only value accepted; `build` fills it in. */
  readonly equals?: number;
}

type NumberPresence<O> = O extends { readonly equals: number } | { readonly default: number }
  ? 'defaulted'
  : 'required';

function unsigned<const O extends NumberOptions>(
  size: 1 | 2 | 4,
  offset: number,
  meaning: string,
  options?: O,
  littleEndian = true,
): Field<number, NumberPresence<O>> {
  const limit = 2 ** (8 * size);
  const equals = options?.equals;
  const numberOf = (bytes: Uint8Array) => {
    const data = view(bytes);
    if (size === 1) return data.getUint8(0);
    return size === 2 ? data.getUint16(0, littleEndian) : data.getUint32(0, littleEndian);
  };
  return field<number, NumberPresence<O>>(
    {
      offset,
      size,
      format: `u${8 * size}${littleEndian ? '' : ', big-endian'}`,
      meaning,
      accepts: equals === undefined ? undefined : String(equals),
      read({ bytes, refuse }) {
        const value = numberOf(bytes);
        if (equals !== undefined && value !== equals) refuse(String(equals), String(value));
        return value;
      },
      write(value, output) {
        if (!Number.isInteger(value) || value < 0 || value >= limit) {
          throw new InvalidArgumentError(meaning, `${value} does not fit in ${size} bytes`);
        }
        if (equals !== undefined && value !== equals)
          throw new InvalidArgumentError(meaning, `only ${equals} is allowed`);
        const data = view(output);
        if (size === 1) data.setUint8(0, value);
        else if (size === 2) data.setUint16(0, value, littleEndian);
        else data.setUint32(0, value, littleEndian);
      },
      toJson: (value) => value,
      toText: (value) => (value < 10 ? String(value) : `${value} (${hexNumber(value)})`),
    },
    equals === undefined ? options : { ...options, default: equals },
  );
}

export function u8<const O extends NumberOptions>(offset: number, meaning: string, options?: O) {
  return unsigned(1, offset, meaning, options);
}

export function u16<const O extends NumberOptions>(offset: number, meaning: string, options?: O) {
  return unsigned(2, offset, meaning, options);
}

export function u32<const O extends NumberOptions>(offset: number, meaning: string, options?: O) {
  return unsigned(4, offset, meaning, options);
}

/** Four bytes, big-endian, as network protocols have them. */
export function u32be<const O extends NumberOptions>(offset: number, meaning: string, options?: O) {
  return unsigned(4, offset, meaning, options, false);
}

export function u64<const O extends FieldOptions<bigint>>(
  offset: number,
  meaning: string,
  options?: O,
): Field<bigint, Defaulted<O, bigint>> {
  return field<bigint, Defaulted<O, bigint>>(
    {
      offset,
      size: 8,
      format: 'u64',
      meaning,
      read: ({ bytes }) => view(bytes).getBigUint64(0, true),
      write(value, output) {
        if (value < 0n || value >= 1n << 64n)
          throw new InvalidArgumentError(meaning, `${value} does not fit in 8 bytes`);
        view(output).setBigUint64(0, value, true);
      },
      toJson: hexNumber,
      toText: hexNumber,
    },
    options,
  );
}

/** A number whose values have names. A number without a name is refused. */
export function named<const N extends Record<string, number>, const O extends FieldOptions<keyof N & string>>(
  offset: number,
  size: 1 | 2 | 4,
  names: N,
  meaning: string,
  options?: O,
): Field<keyof N & string, Defaulted<O, keyof N & string>> {
  const number = unsigned(size, 0, meaning);
  const byValue = new Map(Object.entries(names).map(([name, value]) => [value, name as keyof N & string]));
  return field<keyof N & string, Defaulted<O, keyof N & string>>(
    {
      offset,
      size,
      format: `u${8 * size}`,
      meaning,
      accepts: [...byValue].map(([value, name]) => `${hexNumber(value)} ${name}`).join(', '),
      read(input) {
        const value = number.read(input);
        return (
          byValue.get(value) ??
          input.refuse(`one of ${[...byValue.keys()].map(hexNumber).join(', ')}`, hexNumber(value))
        );
      },
      write: (name, output) => number.write(numberNamed(names, name, meaning), output),
      toJson: (name) => name,
      toText: (name) => `${name} (${hexNumber(numberNamed(names, name, meaning))})`,
    },
    options,
  );
}

function wordIn(bytes: Uint8Array): number | bigint {
  if (bytes.length === 8) return view(bytes).getBigUint64(0, true);
  return bytes.reduceRight((value, byte) => value * 256 + byte, 0);
}

function numberNamed(names: Record<string, number>, name: string, meaning: string): number {
  const value = Object.hasOwn(names, name) ? names[name] : undefined;
  if (value === undefined) {
    throw new InvalidArgumentError(
      meaning,
      `${JSON.stringify(name)} is not one of ${Object.keys(names).join(', ')}`,
    );
  }
  return value;
}

/** A word whose bits have names. */
export function bitsField<T, const O extends FieldOptions<T>>(
  offset: number,
  declaration: Bits<T>,
  meaning: string,
  options?: O,
): Field<T, Defaulted<O, T>> {
  const size = declaration.width / 8;
  return field<T, Defaulted<O, T>>(
    {
      offset,
      size,
      format: `u${declaration.width} bits`,
      meaning,
      read({ bytes, location, adopt }) {
        const word = wordIn(bytes);
        const notes: Note[] = [];
        const value = declaration.parse(word, location, notes);
        adopt(notes);
        return value;
      },
      write(value, output) {
        const word = declaration.build(value as Partial<T>);
        for (let i = 0; i < size; i++) output[i] = Number((word >> BigInt(8 * i)) & 0xffn);
      },
      toJson: (value) => value,
      toText: (value) => declaration.toText(value),
    },
    options,
  );
}

export function bytesField<const O extends FieldOptions<Uint8Array>>(
  offset: number,
  size: number,
  meaning: string,
  options?: O,
): Field<Uint8Array, Defaulted<O, Uint8Array>> {
  return field<Uint8Array, Defaulted<O, Uint8Array>>(
    {
      offset,
      size,
      format: `${size} bytes`,
      meaning,
      read: ({ bytes }) => bytes,
      write(value, output) {
        if (value.length !== size)
          throw new InvalidArgumentError(meaning, `expected ${size} bytes, found ${value.length}`);
        output.set(value);
      },
      toJson: toHex,
      toText: toHex,
    },
    options,
  );
}

/**
 * A big number stored least significant byte first in a field wider than it: the reader gives `significant` bytes,
 * big-endian, as cryptographic libraries want them, and refuses padding that is not zero.
 */
export function bigInteger<const O extends FieldOptions<Uint8Array>>(
  offset: number,
  size: number,
  significant: number,
  meaning: string,
  options?: O,
): Field<Uint8Array, Defaulted<O, Uint8Array>> {
  return field<Uint8Array, Defaulted<O, Uint8Array>>(
    {
      offset,
      size,
      format:
        significant === size
          ? `${size} bytes, little-endian integer`
          : `${significant} of ${size} bytes, little-endian integer`,
      meaning,
      accepts: significant === size ? undefined : 'zero in the padding',
      read({ bytes, refuse }) {
        const stray = firstNonZero(bytes, significant);
        if (stray !== undefined) refuse(`zero after the first ${significant} bytes`, stray.found, stray);
        return reversed(bytes.subarray(0, significant));
      },
      write(value, output) {
        if (value.length !== significant) {
          throw new InvalidArgumentError(meaning, `expected ${significant} bytes, found ${value.length}`);
        }
        output.fill(0);
        output.set(reversed(value));
      },
      toJson: toHex,
      toText: toHex,
    },
    options,
  );
}

export function guidField<const O extends FieldOptions<Guid> & { readonly equals?: Guid }>(
  offset: number,
  meaning: string,
  options?: O,
): Field<Guid, O extends { readonly equals: Guid } | { readonly default: Guid } ? 'defaulted' : 'required'> {
  const equals = options?.equals;
  return field(
    {
      offset,
      size: 16,
      format: 'GUID',
      meaning,
      accepts: equals,
      read({ bytes, refuse }) {
        const guid = guidFromBytes(bytes);
        if (equals !== undefined && guid !== equals) refuse(equals, guid);
        return guid;
      },
      write(value: Guid, output: Uint8Array) {
        if (equals !== undefined && value !== equals)
          throw new InvalidArgumentError(meaning, `only ${equals} is allowed`);
        output.set(guidToBytes(value));
      },
      toJson: (value: Guid) => value,
      toText: (value: Guid) => value,
    },
    equals === undefined ? options : { ...options, default: equals },
  );
}

/** Bytes that carry nothing. `refuse` where the specification says that they are zero, `report` where chips use them. */
export function reserved(
  offset: number,
  size: number,
  found: 'refuse' | 'report' = 'refuse',
): Field<never, 'reserved'> {
  return {
    presence: 'reserved',
    offset,
    size,
    format: `${size} bytes`,
    meaning: 'reserved',
    accepts: found === 'refuse' ? 'zero' : 'zero; other values are reported',
    read({ bytes, refuse, note }) {
      const stray = firstNonZero(bytes, 0);
      if (stray !== undefined) {
        if (found === 'refuse') refuse('zero in reserved bytes', stray.found, stray);
        note(toHex(bytes), 'reserved bytes that are not zero');
      }
      return undefined as never;
    },
    write: (_value, output) => {
      output.fill(0);
    },
    toJson: () => undefined,
    toText: () => '',
  };
}

/** A structure inside a structure. */
export function nested<T extends object, B extends object, const O extends FieldOptions<T>>(
  offset: number,
  inner: Structure<T, B>,
  meaning: string,
  options?: O,
): Field<T, Defaulted<O, T>> {
  return field<T, Defaulted<O, T>>(
    {
      offset,
      size: inner.size,
      format: inner.name,
      meaning,
      read({ bytes, location, adopt }) {
        const value = inner.parse(bytes, location);
        adopt(value.notes);
        return value;
      },
      write: (value, output) => output.set(inner.build(value as unknown as B)),
      toJson: (value) => inner.toJson(value as Parsed<T>),
      toText: (value) => JSON.stringify(inner.toJson(value as Parsed<T>)),
    },
    options,
  );
}

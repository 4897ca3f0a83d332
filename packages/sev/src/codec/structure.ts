import { InvalidArgumentError, MalformedError } from '../errors.js';
import type { AnyField, Field, FieldInput, Location, Note } from './field.js';

/** The table of a structure: one row a field. Reserved ranges are rows too, so that every byte is accounted for. */
export type FieldTable = Readonly<Record<string, Field<never, never> | AnyField>>;

type Simplify<T> = { [K in keyof T]: T[K] };
type KeysWith<F, P extends string> = {
  [K in keyof F]: F[K] extends Field<infer _T, infer Presence> ? (Presence extends P ? K : never) : never;
}[keyof F];
type ValueOf<R> = R extends Field<infer T, infer _P> ? T : never;

/** The values that a table reads: every row but the reserved ones. */
export type ValuesOf<F> = Simplify<{ readonly [K in KeysWith<F, 'required' | 'defaulted'>]: ValueOf<F[K]> }>;
/** The values that `build` wants: rows with a default may be left out. */
export type BuildOf<F> = Simplify<
  { readonly [K in KeysWith<F, 'required'>]: ValueOf<F[K]> } & {
    readonly [K in KeysWith<F, 'defaulted'>]?: ValueOf<F[K]>;
  }
>;

/** What a parser gives: the fields, beside them a copy of the bytes they were read from, and what was unusual. */
export type Parsed<T> = T & {
  /** The exact bytes. Signatures and digests are taken over these, never over rebuilt ones. */
  readonly raw: Uint8Array;
  readonly notes: readonly Note[];
};

/** One field of a parsed structure, ready for a table on a screen. */
export interface FieldDescription {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  readonly value: string;
  readonly meaning: string;
  readonly unit?: string;
}

export interface Structure<T extends object, B extends object = T> {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Where the specification or a header defines it. */
  readonly source: string;
  readonly fields: Readonly<Record<string, AnyField>>;
  /**
   * Reads exactly `size` bytes.
   * @throws MalformedError naming the field and its offset
   */
  parse(bytes: Uint8Array, location?: Location): Parsed<T>;
  /**
   * Reads `size` bytes that begin at `offset` of a longer input.
   * @throws MalformedError also when the input ends before the structure does
   */
  parseAt(bytes: Uint8Array, offset: number, location?: Location): Parsed<T>;
  /**
   * The bytes of the given values, with reserved ranges zero.
   * @throws InvalidArgumentError for a value that its field cannot hold
   */
  build(values: B): Uint8Array;
  offsetOf(name: keyof T & string): number;
  toJson(parsed: T): Record<string, unknown>;
  describe(parsed: T): FieldDescription[];
}

export interface StructureOptions {
  readonly name: string;
  /** Bytes; the rows must cover them all, without gap or overlap. */
  readonly size: number;
  readonly source: string;
}

/** Declares a structure once; reading, writing, showing and the reference page all come from the declaration. */
export function structure<const F extends Record<string, unknown>>(
  options: StructureOptions,
  table: F,
): Structure<ValuesOf<F>, BuildOf<F>> {
  type T = ValuesOf<F>;
  const fields = table as unknown as Readonly<Record<string, AnyField>>;
  const rows = Object.entries(fields);
  const visible = rows.filter(([, row]) => row.presence !== 'reserved');
  requireFullCover(options, rows);

  /** What the fields of one input are read through, one after the other: `enter` names the field whose turn it is. */
  function inputOf(raw: Uint8Array, start: Location, notes: Note[]) {
    const label = start.path ?? options.name;
    let name = '';
    let bytes = raw;
    let offset = start.offset;
    const input: FieldInput = {
      get bytes() {
        return bytes;
      },
      get location() {
        return { offset, path: `${label}, ${name}` };
      },
      refuse(expected, found, at) {
        const field = at?.field === undefined ? name : `${name}.${at.field}`;
        throw new MalformedError({
          structure: label,
          field,
          offset: offset + (at?.offset ?? 0),
          expected,
          found,
        });
      },
      note(found, meaning) {
        notes.push({ structure: label, field: name, offset, found, meaning });
      },
      adopt(inner) {
        notes.push(...inner);
      },
    };
    const enter = (nextName: string, row: AnyField) => {
      name = nextName;
      bytes = raw.subarray(row.offset, row.offset + row.size);
      offset = start.offset + row.offset;
    };
    return { input, enter };
  }

  function parse(bytes: Uint8Array, location: Location = { offset: 0 }): Parsed<T> {
    if (bytes.length !== options.size) {
      throw new MalformedError({
        structure: location.path ?? options.name,
        field: 'length',
        offset: location.offset,
        expected: `${options.size} bytes`,
        found: `${bytes.length} bytes`,
      });
    }
    const raw = new Uint8Array(bytes);
    const notes: Note[] = [];
    const values: Record<string, unknown> = {};
    const { input, enter } = inputOf(raw, location, notes);
    for (const [name, row] of rows) {
      enter(name, row);
      const value = row.read(input);
      if (row.presence !== 'reserved') values[name] = value;
    }
    return Object.assign(values, { raw, notes }) as Parsed<T>;
  }

  return {
    ...options,
    fields,
    parse,
    parseAt(bytes, offset, location = { offset: 0 }) {
      const at = { ...location, offset: location.offset + offset };
      return parse(bytes.subarray(offset, offset + options.size), at);
    },
    build(values) {
      const output = new Uint8Array(options.size);
      for (const [name, row] of visible) {
        const given = (values as Record<string, unknown>)[name] ?? row.defaultValue;
        if (given === undefined)
          throw new InvalidArgumentError(`${options.name}.${name}`, 'no value was given');
        row.write(given, output.subarray(row.offset, row.offset + row.size));
      }
      return output;
    },
    offsetOf(name) {
      return fields[name]!.offset;
    },
    toJson(parsed) {
      const value = (name: string) => (parsed as Record<string, unknown>)[name];
      return Object.fromEntries(visible.map(([name, row]) => [name, row.toJson(value(name))]));
    },
    describe(parsed) {
      return visible.map(([name, row]) => ({
        name,
        offset: row.offset,
        size: row.size,
        value: row.toText((parsed as Record<string, unknown>)[name]),
        meaning: row.meaning,
        ...(row.unit === undefined ? {} : { unit: row.unit }),
      }));
    },
  };
}

/** A gap or an overlap in a declaration is a mistake of ours, found when the module loads. */
function requireFullCover(options: StructureOptions, rows: readonly [string, AnyField][]): void {
  let next = 0;
  for (const [name, row] of rows.toSorted(([, a], [, b]) => a.offset - b.offset)) {
    if (row.offset !== next) {
      const what =
        row.offset < next ? 'overlaps the row before it' : `leaves a gap from 0x${next.toString(16)}`;
      throw new TypeError(`${options.name}: ${name} at 0x${row.offset.toString(16)} ${what}`);
    }
    next = row.offset + row.size;
  }
  if (next !== options.size) {
    throw new TypeError(
      `${options.name}: rows end at 0x${next.toString(16)}, not at 0x${options.size.toString(16)}`,
    );
  }
}

/** Where a structure stands in the input: errors name the offset in the whole, not in the part. */
export interface Location {
  /** Offset of the structure's first byte in the outermost input. */
  readonly offset: number;
  /** Names of the structures around it, outermost first, for example `PEK certificate`. */
  readonly path?: string;
}

/** Something unusual that a strict reader reports and does not refuse: a bit that only newer chips set, say. */
export interface Note {
  readonly structure: string;
  readonly field: string;
  readonly offset: number;
  readonly found: string;
  readonly meaning: string;
}

/** What a field's reader is given: its own bytes, where they stand, and where to leave notes and complaints. */
export interface FieldInput {
  readonly bytes: Uint8Array;
  readonly location: Location;
  /** Refuses the input: throws a MalformedError with the structure, field and offset filled in. */
  refuse(expected: string, found: string, at?: { readonly offset?: number; readonly field?: string }): never;
  note(found: string, meaning: string): void;
  /** Takes over the notes of a structure inside this field. */
  adopt(notes: readonly Note[]): void;
}

/**
 * One row of a structure's table. A field knows how to read and write its own bytes and how to show its value; its
 * name comes from the structure that holds it.
 */
export interface Field<T, Presence extends 'required' | 'defaulted' | 'reserved' = 'required'> {
  readonly presence: Presence;
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
  /** Format for the reference page, for example `u32` or `GUID`. */
  readonly format: string;
  /** What the value means, in words. */
  readonly meaning: string;
  readonly unit?: string;
  /** What values are accepted, in words, where not every value is. */
  readonly accepts?: string;
  readonly defaultValue?: T;
  read(input: FieldInput): T;
  write(value: T, output: Uint8Array): void;
  toJson(value: T): unknown;
  toText(value: T): string;
}

export type AnyField = Field<unknown, 'required' | 'defaulted' | 'reserved'>;

export interface FieldOptions<T> {
  readonly unit?: string;
  /** Value that `build` fills in when none is given. */
  readonly default?: T;
}

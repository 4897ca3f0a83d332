import { toHex } from '../bytes.js';
import { MalformedError } from '../errors.js';
import { parseOidContent } from './der-oid.js';
import { hexOctet, tagName, tags } from './der-tags.js';

/** Nothing in a certificate or a revocation list nests deeper than 9. */
export const maximumDerDepth = 16;

/** Where a value lies, for errors: the structure's name, the path to the field, its offset in the whole input. */
export interface DerContext {
  readonly structure: string;
  readonly path?: string;
  readonly offset?: number;
  readonly depth?: number;
}

export interface DerElement {
  /** Identifier octet. */
  readonly tag: number;
  /** Content octets. */
  readonly content: Uint8Array;
  /** Identifier, length and content octets. */
  readonly raw: Uint8Array;
  /** Of the identifier octet, from the first byte of the outermost input. */
  readonly offset: number;
}

/**
 * Reads the elements of one DER value in order (X.690). Lengths are definite and minimal and lie within the value;
 * tag numbers are below 31; nothing may be left over. What it gives are views of the input.
 */
export class DerReader {
  readonly #bytes: Uint8Array;
  readonly #structure: string;
  readonly #path: string;
  readonly #offset: number;
  readonly #depth: number;
  #at = 0;

  constructor(bytes: Uint8Array, context: DerContext) {
    this.#bytes = bytes;
    this.#structure = context.structure;
    this.#path = context.path ?? '';
    this.#offset = context.offset ?? 0;
    this.#depth = context.depth ?? 0;
  }

  /** Whether an element follows, with this identifier octet if one is given. */
  follows(tag?: number): boolean {
    if (this.#at >= this.#bytes.length) return false;
    return tag === undefined || this.#bytes[this.#at] === tag;
  }

  /** The next element, whose identifier octet must be `tag` or one of several. */
  element(field: string, tag?: number | readonly number[]): DerElement {
    const start = this.#at;
    const identifier = this.#bytes[start];
    const allowed = typeof tag === 'number' ? [tag] : tag;
    const expected = allowed === undefined ? 'an element' : allowed.map(tagName).join(' or ');
    if (identifier === undefined) throw this.malformed(field, expected, 'the end of the value', start);
    if ((identifier & 0x1f) === 0x1f)
      throw this.malformed(
        field,
        'a tag number below 31',
        `the identifier octet ${hexOctet(identifier)}`,
        start,
      );
    if (allowed !== undefined && !allowed.includes(identifier))
      throw this.malformed(field, expected, tagName(identifier), start);
    const { length, size } = this.#length(field, start + 1);
    const content = start + 1 + size;
    const end = content + length;
    if (end > this.#bytes.length) {
      const found = `a length of ${length} bytes where ${this.#bytes.length - content} are left`;
      throw this.malformed(field, 'a length within the value', found, start + 1);
    }
    this.#at = end;
    return {
      tag: identifier,
      content: this.#bytes.subarray(content, end),
      raw: this.#bytes.subarray(start, end),
      offset: this.#offset + start,
    };
  }

  /** Enters a constructed element; `read` must take everything in it. */
  nested<T>(field: string, tag: number, read: (reader: DerReader, element: DerElement) => T): T {
    const element = this.element(field, tag);
    return this.#enter(field, element, (reader) => read(reader, element));
  }

  sequence<T>(field: string, read: (reader: DerReader, element: DerElement) => T): T {
    return this.nested(field, tags.sequence, read);
  }

  /** Every element that is left, each under `field[i]`. */
  each<T>(field: string, limit: number, read: (reader: DerReader, field: string) => T): T[] {
    const values: T[] = [];
    while (this.follows()) {
      if (values.length === limit)
        throw this.malformed(field, `at most ${limit} elements`, 'one more', this.#at);
      values.push(read(this, `${field}[${values.length}]`));
    }
    return values;
  }

  /** Demands that nothing follows. */
  end(): void {
    const left = this.#bytes.length - this.#at;
    if (left > 0) throw this.malformed('end', 'no trailing bytes', `${left} more`, this.#at);
  }

  /** A non-negative INTEGER of at most `maximumLength` content octets. */
  integer(field: string, maximumLength: number, tag: number = tags.integer): bigint {
    return BigInt(`0x${toHex(this.integerBytes(field, maximumLength, tag)) || '0'}`);
  }

  /** The same, big-endian, without the octet that keeps the sign positive. */
  integerBytes(field: string, maximumLength: number, tag: number = tags.integer): Uint8Array {
    const element = this.element(field, tag);
    const { content } = element;
    const [first, second = 0] = content;
    if (first === undefined) throw this.refuse(field, element, 'an INTEGER with content', 'none');
    if (first >= 0x80) throw this.refuse(field, element, 'an INTEGER of 0 or more', 'a negative one');
    if (first === 0 && content.length > 1 && second < 0x80)
      throw this.refuse(field, element, 'an INTEGER in its shortest form', 'a leading zero octet');
    if (content.length > maximumLength)
      throw this.refuse(field, element, `an INTEGER of at most ${maximumLength} octets`, `${content.length}`);
    return first === 0 && content.length > 1 ? content.subarray(1) : content;
  }

  /** A BOOLEAN: FF is true, 00 is false, and nothing else is either. */
  boolean(field: string, tag: number = tags.boolean): boolean {
    const element = this.element(field, tag);
    const [value] = element.content;
    if (element.content.length !== 1 || (value !== 0xff && value !== 0))
      throw this.refuse(field, element, 'a BOOLEAN of FF or 00', toHex(element.content) || 'no content');
    return value === 0xff;
  }

  null(field: string): void {
    const element = this.element(field, tags.null);
    if (element.content.length !== 0)
      throw this.refuse(field, element, 'an empty NULL', toHex(element.content));
  }

  /** An OBJECT IDENTIFIER in dotted form. */
  oid(field: string): string {
    const element = this.element(field, tags.oid);
    const oid = parseOidContent(element.content);
    if (oid === undefined)
      throw this.refuse(field, element, 'an object identifier', toHex(element.content) || 'no content');
    return oid;
  }

  octetString(field: string, tag: number = tags.octetString): Uint8Array {
    return this.element(field, tag).content;
  }

  /** A BIT STRING, whose unused bits are zero. */
  bitString(
    field: string,
    tag: number = tags.bitString,
  ): { readonly unused: number; readonly bytes: Uint8Array } {
    const element = this.element(field, tag);
    const unused = element.content[0];
    const bytes = element.content.subarray(1);
    const last = bytes.at(-1) ?? 0;
    if (unused === undefined || unused > (bytes.length === 0 ? 0 : 7))
      throw this.refuse(field, element, 'a count of unused bits that fits', `${unused ?? 'none'}`);
    if ((last & ((1 << unused) - 1)) !== 0)
      throw this.refuse(field, element, 'unused bits of zero', `${hexOctet(last)} with ${unused} unused`);
    return { unused, bytes };
  }

  /** A BIT STRING of whole octets, with its element. */
  octetsOfBitString(field: string): { readonly element: DerElement; readonly bytes: Uint8Array } {
    const start = this.#at;
    const { unused, bytes } = this.bitString(field);
    const raw = this.#bytes.subarray(start, this.#at);
    const element = { tag: raw[0]!, content: bytes, raw, offset: this.#offset + start };
    if (unused !== 0) throw this.refuse(field, element, 'no unused bits', `${unused}`);
    return { element, bytes };
  }

  /** Enters the DER value inside a BIT STRING or an OCTET STRING; `read` must take everything in it. */
  encapsulated<T>(field: string, tag: 'bitString' | 'octetString', read: (reader: DerReader) => T): T {
    const element =
      tag === 'bitString' ? this.octetsOfBitString(field).element : this.element(field, tags[tag]);
    return this.#enter(field, element, read);
  }

  /** The error for what was just read at this level; `at` counts from the first byte of this value. */
  malformed(field: string, expected: string, found: string, at: number): MalformedError {
    return new MalformedError({
      structure: this.#structure,
      field: this.#pathOf(field),
      offset: this.#offset + at,
      expected,
      found,
    });
  }

  /** The error for an element of this level. */
  refuse(field: string, element: DerElement, expected: string, found: string): MalformedError {
    return this.malformed(field, expected, found, element.offset - this.#offset);
  }

  #enter<T>(field: string, element: DerElement, read: (reader: DerReader) => T): T {
    if (this.#depth >= maximumDerDepth)
      throw this.refuse(field, element, `at most ${maximumDerDepth} levels`, 'one more');
    const inner = new DerReader(element.content, {
      structure: this.#structure,
      path: this.#pathOf(field),
      offset: element.offset + element.raw.length - element.content.length,
      depth: this.#depth + 1,
    });
    const value = read(inner);
    inner.end();
    return value;
  }

  #pathOf(field: string): string {
    return this.#path === '' ? field : `${this.#path}.${field}`;
  }

  #length(field: string, at: number): { length: number; size: number } {
    const first = this.#bytes[at];
    if (first === undefined) throw this.malformed(field, 'a length', 'the end of the value', at);
    if (first < 0x80) return { length: first, size: 1 };
    if (first === 0x80) throw this.malformed(field, 'a definite length', 'an indefinite one', at);
    const digits = first & 0x7f;
    // 24 bits are far more than any limit on the input, and keep the sums below exact.
    if (digits > 3) throw this.malformed(field, 'a length of at most 3 octets', `${digits}`, at);
    const octets = this.#bytes.subarray(at + 1, at + 1 + digits);
    if (octets.length < digits) throw this.malformed(field, 'a whole length', 'the end of the value', at);
    const length = octets.reduce((value, octet) => value * 256 + octet, 0);
    if (octets[0] === 0 || length < 0x80)
      throw this.malformed(
        field,
        'a length in its shortest form',
        toHex(this.#bytes.subarray(at, at + 1 + digits)),
        at,
      );
    return { length, size: 1 + digits };
  }
}

/**
 * Reads one DER element that is the whole input, after its size was checked.
 * @throws MalformedError
 */
export function readDer<T>(
  bytes: Uint8Array,
  context: DerContext & { readonly maximumSize: number },
  read: (reader: DerReader) => T,
): T {
  const reader = new DerReader(bytes, context);
  if (bytes.length > context.maximumSize)
    throw reader.malformed('length', `at most ${context.maximumSize} bytes`, `${bytes.length}`, 0);
  const value = read(reader);
  reader.end();
  return value;
}

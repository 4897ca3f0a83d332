import { MalformedError } from '@vouchsafe/sev';
import { z } from 'zod';
import { parseStrictJson } from './json/strict-json.js';
import { utf8Text } from './json/utf8-text.js';

/**
 * A message of a protocol: one declaration gives its TypeScript type, the strict reader and the writer. In memory bytes
 * are `Uint8Array`; in JSON they are base64.
 */
export interface Message<T> {
  readonly name: string;
  /**
   * Reads a JSON value. Members that the message does not have are refused, unless it is declared to pass over them, and
   * so is every member that is missing or is not what it must be.
   * @throws MalformedError with a JSON pointer to the member as `field`; values are never repeated in it
   */
  parse(json: unknown): T;
  /** @throws MalformedError as {@link Message.parse}, and for text that is not strict JSON ({@link parseStrictJson}) */
  parseText(text: string): T;
  /** The same for the text's bytes. @throws MalformedError as {@link Message.parseText}, and for bytes that are not UTF-8 */
  parseBytes(bytes: Uint8Array): T;
  /** The JSON value of a message: what {@link Message.parse} reads. @throws MalformedError for a value it would refuse */
  toJson(value: T): unknown;
}

/** Declares a message. */
export function message<S extends z.ZodType>(name: string, schema: S): Message<z.output<S>> {
  const parse = (json: unknown): z.output<S> => {
    const result = z.safeDecode(schema, json as z.input<S>);
    if (!result.success) throw malformed(name, json, result.error);
    return result.data;
  };
  return {
    name,
    parse,
    parseText: (text) => parse(parseStrictJson(name, text)),
    parseBytes: (bytes) => parse(parseStrictJson(name, utf8Text(name, bytes))),
    toJson(value) {
      const result = z.safeEncode(schema, value);
      if (!result.success) throw malformed(name, value, result.error);
      return result.data;
    },
  };
}

function malformed(name: string, value: unknown, error: z.ZodError): MalformedError {
  const issue = error.issues[0]!;
  const unknown = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
  const path = unknown === undefined ? issue.path : [...issue.path, unknown];
  return new MalformedError({
    structure: name,
    field: jsonPointer(path),
    offset: 0,
    expected: unknown === undefined ? issue.message : 'no such member',
    found: describe(valueAt(value, path)),
  });
}

/** RFC 6901; the whole document is `/` here, where the RFC has an empty text, so that an error never names nothing. */
function jsonPointer(path: readonly PropertyKey[]): string {
  const parts = path.map((part) => String(part).slice(0, 64).replaceAll('~', '~0').replaceAll('/', '~1'));
  return `/${parts.join('/')}`;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((inside, part) => {
    if (typeof inside !== 'object' || inside === null || !Object.hasOwn(inside, part)) return undefined;
    return (inside as Record<PropertyKey, unknown>)[part];
  }, value);
}

/** The kind and size of a value, not the value: an error may be shown to whoever sent it, and to a log. */
function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (typeof value === 'string') return `text of ${value.length} characters`;
  if (typeof value === 'number')
    return Number.isInteger(value) ? 'another whole number' : 'a number that is not whole';
  if (typeof value === 'bigint') return 'another whole number';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

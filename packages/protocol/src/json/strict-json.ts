import { MalformedError } from '@vouchsafe/sev';

/** What JSON text can say. Whole numbers beyond ±(2^53 − 1) are big integers, so that 64-bit words survive. */
export type JsonValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

/** Objects and lists inside each other: more than any message of ours has. */
export const greatestJsonDepth = 32;

/** Digits of a whole number: a 128-bit word has 39. */
const greatestDigits = 40;

const numberToken = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const loneSurrogate = /\p{Surrogate}/u;

/**
 * Reads JSON text (RFC 8259) more strictly than `JSON.parse`: an object has each member once and none named `__proto__`,
 * text has no half of a surrogate pair, nothing is nested deeper than {@link greatestJsonDepth}, and no number is out of
 * range. Whole numbers that a `number` would round come as `bigint`.
 * @param name of the document, for errors
 * @throws MalformedError with the place as `offset`, in UTF-16 units; it does not repeat the text
 */
export function parseStrictJson(name: string, text: string): JsonValue {
  let at = 0;
  let depth = 0;

  function refuse(expected: string, found: string, offset = at): never {
    throw new MalformedError({ structure: name, field: '/', offset, expected, found });
  }
  const notJson = (): never => refuse('JSON', 'text that is not JSON');

  function skipSpace(): number {
    for (;;) {
      const unit = text.charCodeAt(at);
      if (unit !== 0x20 && unit !== 0x0a && unit !== 0x0d && unit !== 0x09) return unit;
      at++;
    }
  }

  function value(): JsonValue {
    const first = skipSpace();
    if (first === 0x22) return string();
    if (first === 0x7b) return nested(object);
    if (first === 0x5b) return nested(list);
    if (first === 0x74) return word('true', true);
    if (first === 0x66) return word('false', false);
    if (first === 0x6e) return word('null', null);
    return number();
  }

  function word<T extends JsonValue>(spelling: string, meaning: T): T {
    if (!text.startsWith(spelling, at)) notJson();
    at += spelling.length;
    return meaning;
  }

  function nested<T>(read: () => T): T {
    if (++depth > greatestJsonDepth) refuse(`at most ${greatestJsonDepth} levels`, 'deeper nesting');
    at++;
    const result = read();
    depth--;
    return result;
  }

  function list(): JsonValue[] {
    const items: JsonValue[] = [];
    if (skipSpace() === 0x5d) {
      at++;
      return items;
    }
    for (;;) {
      items.push(value());
      const next = skipSpace();
      at++;
      if (next === 0x5d) return items;
      if (next !== 0x2c) notJson();
    }
  }

  function object(): { [name: string]: JsonValue } {
    const members: { [name: string]: JsonValue } = {};
    if (skipSpace() === 0x7d) {
      at++;
      return members;
    }
    for (;;) {
      if (skipSpace() !== 0x22) notJson();
      const start = at;
      const member = string();
      if (Object.hasOwn(members, member)) refuse('each member once', 'a member twice', start);
      if (member === '__proto__') refuse('members with other names', '__proto__', start);
      if (skipSpace() !== 0x3a) notJson();
      at++;
      members[member] = value();
      const next = skipSpace();
      at++;
      if (next === 0x7d) return members;
      if (next !== 0x2c) notJson();
    }
  }

  function string(): string {
    const start = at;
    for (;;) {
      at++;
      const unit = text.charCodeAt(at);
      if (unit === 0x22) break;
      if (Number.isNaN(unit) || unit < 0x20) notJson();
      if (unit === 0x5c) return escapedString(start);
    }
    at++;
    return text.slice(start + 1, at - 1);
  }

  function escapedString(start: number): string {
    while (text.charCodeAt(at) !== 0x22) {
      if (at >= text.length) notJson();
      at += text.charCodeAt(at) === 0x5c ? 2 : 1;
    }
    at++;
    const read = unescaped(text.slice(start, at));
    if (read === undefined) return notJson();
    if (loneSurrogate.test(read)) return refuse('text in Unicode', 'half of a surrogate pair', start);
    return read;
  }

  /** Most numbers are a few digits, in lists of bytes: they are read without making a token of each. */
  function number(): number | bigint {
    let end = at;
    let small = 0;
    for (let unit = text.charCodeAt(end); unit >= 0x30 && unit <= 0x39; unit = text.charCodeAt(++end))
      small = 10 * small + unit - 0x30;
    const digits = end - at;
    const startsWithZero = text.charCodeAt(at) === 0x30;
    const next = text.charCodeAt(end) | 0x20;
    if (digits === 0 || digits > 15 || (startsWithZero && digits > 1) || next === 0x2e || next === 0x65)
      return anyNumber();
    at = end;
    return small;
  }

  function anyNumber(): number | bigint {
    numberToken.lastIndex = at;
    const token = numberToken.exec(text)?.[0];
    if (token === undefined) return notJson();
    const read = Number(token);
    if (!Number.isFinite(read)) refuse('a number in range', 'one that is too large');
    const exact = Number.isSafeInteger(read) || /[.eE]/.test(token);
    if (!exact && token.length > greatestDigits)
      refuse(`at most ${greatestDigits} digits`, `${token.length}`);
    at += token.length;
    return exact ? read : BigInt(token);
  }

  if (loneSurrogate.test(text)) refuse('text in Unicode', 'half of a surrogate pair', 0);
  const read = value();
  skipSpace();
  if (at < text.length) notJson();
  return read;
}

function unescaped(quoted: string): string | undefined {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    // V8's message would quote the text.
    return undefined;
  }
}

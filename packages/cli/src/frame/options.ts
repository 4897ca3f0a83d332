import { fromBase64, fromHex, InvalidArgumentError } from '@vouchsafe/sev';
import type { Argument, Given, Option } from './command.js';

/** The kinds of option and argument that a command is declared with. */

const nameOf = (flags: string) => /--[a-z0-9-]+/.exec(flags)?.[0] ?? flags;
const textOf = (given: Given) => (typeof given === 'string' ? given : undefined);

function optional<T>(
  flags: string,
  help: string,
  read: (text: string, name: string) => T,
): Option<T | undefined> {
  return {
    flags,
    help,
    read(given) {
      const text = textOf(given);
      return text === undefined ? undefined : read(text, nameOf(flags));
    },
  };
}

/** True when given. */
export function flag(flags: string, help: string): Option<boolean> {
  return { flags, help, read: (given) => given === true };
}

export function text(flags: string, help: string): Option<string | undefined> {
  return optional(flags, help, (given) => given);
}

/** A path; reading it is the command's business. */
export const path = text;

/** One of the given words. */
export function choice<const W extends readonly string[]>(
  flags: string,
  help: string,
  words: W,
): Option<W[number] | undefined> {
  return optional(flags, `${help}: ${words.join(', ')}`, (given, name) => {
    const found = words.find((word) => word === given);
    if (found === undefined)
      throw new InvalidArgumentError(name, `expected one of ${words.join(', ')}, found ${quoted(given)}`);
    return found as W[number];
  });
}

export interface NumberLimits {
  readonly least?: number;
  readonly most: number;
}

export const byte: NumberLimits = { most: 0xff };
export const word: NumberLimits = { most: 0xffff_ffff };

/**
 * A whole number, decimal or `0x` and hexadecimal digits.
 * @throws InvalidArgumentError naming `name`
 */
export function readNumber(given: string, name: string, limits: NumberLimits): number {
  const number = /^(?:\d+|0[xX][0-9a-fA-F]+)$/.test(given) ? Number(given) : Number.NaN;
  const least = limits.least ?? 0;
  if (!Number.isSafeInteger(number) || number < least || number > limits.most) {
    const range = `from ${least} to ${limits.most} (0x${limits.most.toString(16)})`;
    throw new InvalidArgumentError(
      name,
      `expected a number ${range}, decimal or 0x…, found ${quoted(given)}`,
    );
  }
  return number;
}

export function number(flags: string, help: string, limits: NumberLimits): Option<number | undefined> {
  return optional(flags, help, (given, name) => readNumber(given, name, limits));
}

/**
 * A whole number of up to 64 bits, decimal or `0x` and hexadecimal digits.
 * @throws InvalidArgumentError naming `name`
 */
export function readWideNumber(given: string, name: string, bits = 64): bigint {
  const number = /^(?:\d{1,20}|0[xX][0-9a-fA-F]{1,16})$/.test(given) ? BigInt(given) : -1n;
  if (number >= 0n && number < 1n << BigInt(bits)) return number;
  throw new InvalidArgumentError(
    name,
    `expected a number of ${bits} bits, decimal or 0x…, found ${quoted(given)}`,
  );
}

/** A number of up to 64 bits, such as a policy or a vector of bits. */
export function wideNumber(flags: string, help: string): Option<bigint | undefined> {
  return optional(flags, help, (given, name) => readWideNumber(given, name));
}

/** What is written in a form of its own, which `read` knows. */
export function parsed<T>(
  flags: string,
  help: string,
  read: (given: string, name: string) => T,
): Option<T | undefined> {
  return optional(flags, help, read);
}

/** A point in time as ISO 8601 writes it, in milliseconds since 1970. A date alone is its first moment in UTC. */
export function instant(flags: string, help: string): Option<number | undefined> {
  return optional(flags, help, readInstant);
}

/** A time without its offset from UTC would mean another moment on every machine, so it is refused. */
export function readInstant(given: string, name: string): number {
  const form = /^(\d{4}-\d{2}-\d{2})(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2}))?$/;
  const [, day] = form.exec(given) ?? [];
  const at = day === undefined ? Number.NaN : Date.parse(given);
  // Date.parse takes the 31st of a shorter month for a day of the next one.
  if (!Number.isNaN(at) && new Date(Date.parse(day!)).toISOString().startsWith(day!)) return at;
  throw new InvalidArgumentError(
    name,
    `expected a date such as 2026-03-07 or 2026-03-07T01:04:33Z, found ${quoted(given)}`,
  );
}

/** Bytes as hexadecimal digits, of exactly `length` bytes. */
export function hex(flags: string, help: string, length: number): Option<Uint8Array | undefined> {
  return optional(flags, help, (given, name) =>
    ofLength(fromHex(given.replace(/^0x/i, ''), name), length, name),
  );
}

/** Bytes as hexadecimal digits or base64; `length` bytes, which tells the two apart. */
export function hexOrBase64(flags: string, help: string, length: number): Option<Uint8Array | undefined> {
  return optional(flags, help, (given, name) => {
    const compact = given.trim();
    const bytes =
      /^[0-9a-fA-F]+$/.test(compact) && compact.length === 2 * length
        ? fromHex(compact, name)
        : fromBase64(compact, name);
    return ofLength(bytes, length, name);
  });
}

/** The value to use when the option is not given. */
export function withDefault<T>(
  option: Option<T | undefined>,
  value: NonNullable<T>,
  shown = String(value),
): Option<NonNullable<T>> {
  return {
    ...option,
    help: `${option.help} (default: ${shown})`,
    read: (given) => option.read(given) ?? value,
  };
}

/** An option that has to be given. */
export function required<T>(option: Option<T | undefined>): Option<NonNullable<T>> {
  return {
    ...option,
    help: `${option.help} (required)`,
    read(given) {
      const value = option.read(given);
      if (value === undefined || value === null) throw missing(nameOf(option.flags));
      return value;
    },
  };
}

/** Puts options under a heading of their own in help. */
export function grouped<const O extends Readonly<Record<string, Option<unknown>>>>(
  group: string,
  options: O,
): O {
  const entries = Object.entries(options).map(([name, option]) => [name, { ...option, group }]);
  return Object.fromEntries(entries) as O;
}

/** An option that may be given several times. */
export function repeated<T>(option: Option<T | undefined>): Option<readonly NonNullable<T>[]> {
  return {
    ...option,
    help: `${option.help}; may be repeated`,
    repeats: true,
    read: (given) =>
      (Array.isArray(given) ? given : []).map((each: string) => option.read(each) as NonNullable<T>),
  };
}

export function argument(name: string, help: string): Argument<string> {
  return {
    name: `<${name}>`,
    help,
    read(given) {
      const value = textOf(given);
      if (value === undefined) throw missing(name);
      return value;
    },
  };
}

export function optionalArgument(name: string, help: string): Argument<string | undefined> {
  return { name: `[${name}]`, help, read: textOf };
}

/** One or more of them. */
export function argumentList(name: string, help: string): Argument<readonly string[]> {
  return { name: `<${name}...>`, help, read: (given) => (Array.isArray(given) ? given : []) };
}

/** A positional number of up to 64 bits. */
export function wideNumberArgument(name: string, help: string): Argument<bigint> {
  const inner = argument(name, help);
  return { ...inner, read: (given) => readWideNumber(inner.read(given), name) };
}

function ofLength(bytes: Uint8Array, length: number, name: string): Uint8Array {
  if (bytes.length !== length)
    throw new InvalidArgumentError(name, `expected ${length} bytes, found ${bytes.length}`);
  return bytes;
}

function missing(name: string): InvalidArgumentError {
  return new InvalidArgumentError(name, 'it has to be given');
}

const quoted = (given: string) => JSON.stringify(given.length > 60 ? `${given.slice(0, 60)}…` : given);

import { InvalidArgumentError } from '@vouchsafe/sev';
import type { JsonValue } from './strict-json.js';

/**
 * The canonical JSON of a value (RFC 8785, JCS): members in the order of their names' UTF-16 units, no white space,
 * numbers as ECMAScript writes them. Members that are `undefined` are left out.
 * @throws InvalidArgumentError for what has no canonical form: big integers, numbers that are not finite, text with half
 * of a surrogate pair
 */
export function canonicalJson(value: unknown): string {
  if (typeof value === 'bigint') {
    throw new InvalidArgumentError('value', 'whole numbers beyond 2^53 have no canonical JSON');
  }
  return write(value, canonicalJson, (names) => names.sort());
}

/**
 * JSON text without white space, members in their own order. Unlike `JSON.stringify` it writes big integers, as plain
 * numbers: what {@link JsonValue} can hold.
 * @throws InvalidArgumentError for numbers that are not finite and text with half of a surrogate pair
 */
export function jsonText(value: unknown): string {
  if (typeof value === 'bigint') return value.toString();
  return write(value, jsonText, (names) => names);
}

function write(
  value: unknown,
  inner: (value: unknown) => string,
  inOrder: (names: string[]) => string[],
): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return quoted(value);
  if (typeof value === 'number') return numberText(value);
  if (Array.isArray(value)) return `[${value.map((item: unknown) => inner(item)).join(',')}]`;
  if (typeof value !== 'object') {
    throw new InvalidArgumentError('value', `JSON has nothing for a value of type ${typeof value}`);
  }
  const members = value as Record<string, unknown>;
  const names = inOrder(Object.keys(members).filter((name) => members[name] !== undefined));
  return `{${names.map((name) => `${quoted(name)}:${inner(members[name])}`).join(',')}}`;
}

function quoted(text: string): string {
  if (/\p{Surrogate}/u.test(text)) {
    throw new InvalidArgumentError('value', 'text has half of a surrogate pair');
  }
  return JSON.stringify(text);
}

function numberText(value: number): string {
  if (!Number.isFinite(value)) throw new InvalidArgumentError('value', 'JSON has no infinity and no NaN');
  return JSON.stringify(value);
}

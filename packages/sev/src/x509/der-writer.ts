import { concat } from '../bytes.js';
import { InvalidArgumentError } from '../errors.js';
import { oidContent } from './der-oid.js';
import { tags } from './der-tags.js';

/** One DER element: identifier octet, definite minimal length, content. */
export function derElement(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const content = concat(...contents);
  return concat(Uint8Array.of(tag), lengthOctets(content.length), content);
}

export function derSequence(...contents: readonly Uint8Array[]): Uint8Array {
  return derElement(tags.sequence, ...contents);
}

/** An INTEGER of 0 or more in its shortest form, from a number or from big-endian octets. */
export function derInteger(value: bigint | number | Uint8Array): Uint8Array {
  const magnitude = value instanceof Uint8Array ? withoutLeadingZeros(value) : octetsOf(BigInt(value));
  const sign = magnitude.length === 0 || magnitude[0]! >= 0x80 ? Uint8Array.of(0) : new Uint8Array(0);
  return derElement(tags.integer, sign, magnitude);
}

export function derBoolean(value: boolean): Uint8Array {
  return derElement(tags.boolean, Uint8Array.of(value ? 0xff : 0));
}

export function derNull(): Uint8Array {
  return derElement(tags.null);
}

/** @throws InvalidArgumentError */
export function derOid(oid: string): Uint8Array {
  return derElement(tags.oid, oidContent(oid));
}

export function derOctetString(bytes: Uint8Array): Uint8Array {
  return derElement(tags.octetString, bytes);
}

export function derBitString(bytes: Uint8Array, unused = 0): Uint8Array {
  return derElement(tags.bitString, Uint8Array.of(unused), bytes);
}

/** A character string; the caller's tag says of which alphabet. */
export function derText(tag: number, text: string): Uint8Array {
  return derElement(tag, new TextEncoder().encode(text));
}

function lengthOctets(length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(length);
  const octets = octetsOf(BigInt(length));
  return concat(Uint8Array.of(0x80 | octets.length), octets);
}

function octetsOf(value: bigint): Uint8Array {
  if (value < 0n) throw new InvalidArgumentError('integer', `${value} is negative`);
  const octets: number[] = [];
  for (let left = value; left > 0n; left >>= 8n) octets.unshift(Number(left & 0xffn));
  return Uint8Array.from(octets);
}

function withoutLeadingZeros(bytes: Uint8Array): Uint8Array {
  const first = bytes.findIndex((octet) => octet !== 0);
  return first < 0 ? new Uint8Array(0) : bytes.subarray(first);
}

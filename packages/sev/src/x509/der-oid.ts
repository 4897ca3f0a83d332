import { InvalidArgumentError } from '../errors.js';

/** Longer than any that X.509 uses; arcs stay exact as numbers. */
const maximumLength = 32;
const maximumArc = 2 ** 32;

/** The dotted form of an OBJECT IDENTIFIER's content octets (X.690 section 8.19); undefined when they are none. */
export function parseOidContent(content: Uint8Array): string | undefined {
  if (content.length === 0 || content.length > maximumLength) return undefined;
  const arcs: number[] = [];
  let arc = 0;
  let begun = false;
  for (const octet of content) {
    if (!begun && octet === 0x80) return undefined; // a leading zero digit: not the shortest form
    arc = arc * 128 + (octet & 0x7f);
    if (arc > maximumArc) return undefined;
    begun = octet >= 0x80;
    if (begun) continue;
    arcs.push(arc);
    arc = 0;
  }
  const [first = 0, ...rest] = arcs;
  const root = Math.min(2, Math.floor(first / 40));
  return begun ? undefined : [root, first - 40 * root, ...rest].join('.');
}

/** Content octets of an OBJECT IDENTIFIER in dotted form. @throws InvalidArgumentError */
export function oidContent(oid: string): Uint8Array {
  const arcs = oid.split('.').map(Number);
  const [root = Number.NaN, second = Number.NaN, ...rest] = arcs;
  const octets = [root * 40 + second, ...rest].flatMap(base128);
  const content = Uint8Array.from(octets);
  if (parseOidContent(content) !== oid)
    throw new InvalidArgumentError('object identifier', `${oid} is not one in dotted form`);
  return content;
}

function base128(arc: number): number[] {
  const digits = [arc % 128];
  for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
    digits.unshift(0x80 | (left % 128));
  return digits;
}

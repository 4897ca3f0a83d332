import { concat, equalBytes, toHex } from '../bytes.js';

/** Replaces the only occurrence of some bytes; the test is wrong when there are none or several. */
export function replaced(bytes: Uint8Array, from: Uint8Array, to: Uint8Array): Uint8Array {
  const places: number[] = [];
  for (let at = 0; at + from.length <= bytes.length; at++)
    if (equalBytes(bytes.subarray(at, at + from.length), from)) places.push(at);
  if (places.length !== 1) throw new TypeError(`${toHex(from)} occurs ${places.length} times`);
  return concat(bytes.subarray(0, places[0]), to, bytes.subarray(places[0]! + from.length));
}

/** The contents of the elements in a constructed value, by a reader that believes everything. */
export function elementsOf(content: Uint8Array): Uint8Array[] {
  const elements: Uint8Array[] = [];
  for (let at = 0; at < content.length; ) {
    const size = headerAndContent(content.subarray(at)).end;
    elements.push(content.subarray(at, at + size));
    at += size;
  }
  return elements;
}

/** The content of one element. */
export function contentOf(element: Uint8Array): Uint8Array {
  const { start, end } = headerAndContent(element);
  return element.subarray(start, end);
}

function headerAndContent(element: Uint8Array): { readonly start: number; readonly end: number } {
  const first = element[1]!;
  if (first < 0x80) return { start: 2, end: 2 + first };
  const digits = first & 0x7f;
  const length = Number(`0x${toHex(element.subarray(2, 2 + digits))}`);
  return { start: 2 + digits, end: 2 + digits + length };
}

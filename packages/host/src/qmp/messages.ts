/** Classes of QMP errors (qemu qapi/error.json). Clients may tell nothing but these apart. */
export type QmpErrorClass =
  | 'GenericError'
  | 'CommandNotFound'
  | 'DeviceNotActive'
  | 'DeviceNotFound'
  | 'KVMMissingCap';

/** QEMU's version, three numbers, and what its packager calls it. */
export interface QmpVersion {
  readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number };
  readonly package: string;
}

export interface QmpEvent {
  readonly event: string;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly timestamp: { readonly seconds: number; readonly microseconds: number };
}

/** Longest message that either side of ours takes in. */
export const qmpMessageLimit = 0x10_0000;

/** QEMU's own limit. What is deeper can be read and not written: an id that comes back would overflow the stack. */
const nestingLimit = 1024;

const openers = new Set([0x7b, 0x5b]);
const closers = new Set([0x7d, 0x5d]);
const blanks = new Set([0x20, 0x09, 0x0a, 0x0d]);
const [quote, backslash] = [0x22, 0x5c];

/**
 * Cuts a stream into the texts of JSON values. QMP's messages end where their braces do: QEMU writes a line break after
 * each, and asks none of its clients. What is no object or list ends at the next blank.
 * @returns a function to feed with what arrives; it gives `false` once a value was longer than `limit`, or nested deeper
 * than QEMU allows
 */
export function splitJson(limit: number, onText: (text: string) => void): (chunk: Uint8Array) => boolean {
  let held: Uint8Array[] = [];
  let heldLength = 0;
  let depth = 0;
  let inString = false;
  let escaped = false;

  const scalarGoesOn = () => heldLength > 0 && depth === 0;

  function flush(part: Uint8Array): void {
    const text = new TextDecoder().decode(Buffer.concat([...held, part]));
    held = [];
    heldLength = 0;
    onText(text);
  }

  return (chunk) => {
    let start = 0;
    for (const [at, byte] of chunk.entries()) {
      const begun = scalarGoesOn() || at > start;
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === backslash) escaped = true;
        else if (byte === quote) inString = false;
      } else if (depth === 0 && blanks.has(byte)) {
        if (begun) flush(chunk.subarray(start, at));
        start = at + 1;
      } else if (byte === quote) {
        inString = true;
      } else if (openers.has(byte)) {
        depth += 1;
        if (depth > nestingLimit) return false;
      } else if (closers.has(byte)) {
        depth = Math.max(0, depth - 1);
        if (depth === 0) {
          flush(chunk.subarray(start, at + 1));
          start = at + 1;
        }
      }
      if (heldLength + at + 1 - start > limit) return false;
    }
    if (start < chunk.length) {
      held.push(chunk.slice(start));
      heldLength += chunk.length - start;
    }
    return true;
  };
}

import fc from 'fast-check';

/** One byte of a structure and what to change in it. */
export interface ByteChange {
  readonly at: number;
  /** Not zero. */
  readonly mask: number;
}

/** A change of any one byte among `size`. */
export function byteChange(size: number): fc.Arbitrary<ByteChange> {
  return fc.record({ at: fc.nat(size - 1), mask: fc.integer({ min: 1, max: 255 }) });
}

export function changed(bytes: Uint8Array, { at, mask }: ByteChange): Uint8Array {
  const copy = bytes.slice();
  copy[at]! ^= mask;
  return copy;
}

/** Bytes of a length from the given range. */
export function byteArray(minLength: number, maxLength = minLength): fc.Arbitrary<Uint8Array> {
  return fc.uint8Array({ minLength, maxLength }).map((bytes) => new Uint8Array(bytes));
}

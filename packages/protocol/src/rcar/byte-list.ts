import { z } from 'zod';

/** Bytes as Trustee's clients write those of a report: a JSON list of numbers. `least` and `greatest` count bytes. */
export function byteListMember(least: number, greatest = least) {
  const error = `expected a list of ${least === greatest ? least : `${least} to ${greatest}`} bytes`;
  const isByteList = (value: unknown): value is readonly number[] =>
    Array.isArray(value) && value.length >= least && value.length <= greatest && areBytes(value);
  return z.codec(
    z.custom<readonly number[]>(isByteList, { error }),
    z
      .instanceof(Uint8Array<ArrayBufferLike>, { error })
      .refine(({ length }) => length >= least && length <= greatest, { error }),
    { decode: bytesOf, encode: (bytes) => [...bytes] },
  );
}

/** Several times as fast as the constructor that takes a list. */
function bytesOf(list: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(list.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = list[i]!;
  return bytes;
}

function areBytes(values: readonly unknown[]): boolean {
  for (const value of values) if (typeof value !== 'number' || (value & 0xff) !== value) return false;
  return true;
}

/** A word of 64 bits: a plain number in JSON, which may be beyond 2^53. */
export const word64Member = z.codec(
  z.custom<number | bigint>(isWord64, { error: 'expected a whole number of 64 bits' }),
  z.bigint().min(0n).max(0xffff_ffff_ffff_ffffn),
  {
    decode: (value) => BigInt(value),
    encode: (value) => (value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value),
  },
);

function isWord64(value: unknown): boolean {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0;
  return typeof value === 'bigint' && value >= 0n && value <= 0xffff_ffff_ffff_ffffn;
}

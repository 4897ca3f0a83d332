import { z } from 'zod';

/** Bytes as Trustee's clients write those of a report: a JSON list of numbers. `least` and `greatest` count bytes. */
export function byteListMember(least: number, greatest = least) {
  const error = `expected a list of ${least === greatest ? least : `${least} to ${greatest}`} bytes`;
  const isByteList = (value: unknown): value is readonly number[] =>
    Array.isArray(value) && value.length >= least && value.length <= greatest && value.every(isByte);
  return z.codec(
    z.custom<readonly number[]>(isByteList, { error }),
    z
      .instanceof(Uint8Array<ArrayBufferLike>, { error })
      .refine(({ length }) => length >= least && length <= greatest, { error }),
    { decode: (list) => Uint8Array.from(list), encode: (bytes) => [...bytes] },
  );
}

function isByte(value: unknown): boolean {
  return typeof value === 'number' && (value & 0xff) === value;
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

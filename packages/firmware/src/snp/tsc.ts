import type { SnpProfile } from '../profiles.js';

/** GUEST_TSC_SCALE: guest's over host's frequency, with 8 bits before the point and 32 behind; undefined where it does not fit. */
export function tscScale(guestKhz: number, { tscKhz }: Pick<SnpProfile, 'tscKhz'>): bigint | undefined {
  const scale = (BigInt(guestKhz) << 32n) / BigInt(tscKhz);
  return scale > 0n && scale < 1n << 40n ? scale : undefined;
}

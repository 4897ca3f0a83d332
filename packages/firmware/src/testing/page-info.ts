import { createHash } from 'node:crypto';

/** PAGE_INFO, hashed by hand as the reference sheet on launch digests has it. */
export function nextDigest(
  digest: Uint8Array,
  page: { type: number; gpa: number; contents?: Uint8Array; imi?: number; permissions?: number[] },
): Uint8Array {
  const info = new Uint8Array(0x70);
  const view = new DataView(info.buffer);
  info.set(digest);
  if (page.contents !== undefined) info.set(createHash('sha384').update(page.contents).digest(), 0x30);
  view.setUint16(0x60, 0x70, true);
  info[0x62] = page.type;
  info[0x63] = page.imi ?? 0;
  info.set(page.permissions ?? [], 0x65);
  view.setBigUint64(0x68, BigInt(page.gpa), true);
  return new Uint8Array(createHash('sha384').update(info).digest());
}

/** Before the first page. */
export const noDigest = new Uint8Array(48);

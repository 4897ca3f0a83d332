import { hash } from 'node:crypto';
import { calculateSnpFirmwareDigest } from '@vouchsafe/sev';
import type { Benchmark } from './measure.js';

const pageSize = 4096;
const pages = 1024;

/** The measurement of a 4 MiB firmware image against the two SHA-384 that each page costs at the least. */
export async function snpLaunchDigest(): Promise<Omit<Benchmark, 'name'>> {
  const firmware = new Uint8Array(pages * pageSize).map((_, i) => (i * 31) & 0xff);
  return {
    unit: 'pages/s',
    amount: pages,
    ours: () => calculateSnpFirmwareDigest(firmware),
    raw: () => twoHashesAPage(firmware),
  };
}

function twoHashesAPage(firmware: Uint8Array): Uint8Array {
  const info = new Uint8Array(0x70);
  for (let at = 0; at < firmware.length; at += pageSize) {
    info.set(hash('sha384', firmware.subarray(at, at + pageSize), 'buffer'), 48);
    info.set(hash('sha384', info, 'buffer'));
  }
  return info;
}

import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { launchUpdateDataBuffer } from '@vouchsafe/sev';
import { BenchMachine, layout } from './machine.js';
import type { Benchmark } from './measure.js';

const mebibyte = 2 ** 20;
const size = 64 * mebibyte;
/** OpenSSL encrypts at most 2^20 blocks under one XTS tweak. */
const largestUnit = 16 * mebibyte;

/** One command over 64 MiB of guest memory, against SHA-256 and AES-128-XTS over as many bytes in the largest pieces. */
export async function encryptedLaunchUpdate(): Promise<Omit<Benchmark, 'name'>> {
  const machine = await BenchMachine.start(size + 8 * mebibyte);
  const handle = await machine.startGuest(1);
  const data = randomBytes(size);
  await machine.host.memory.write(layout.image, data);
  return {
    unit: 'MiB/s',
    amount: size / mebibyte,
    ours: () =>
      machine.command('LAUNCH_UPDATE_DATA', launchUpdateDataBuffer, {
        handle,
        address: BigInt(layout.image),
        length: size,
      }),
    raw: () => hashAndEncrypt(data),
    close: () => machine.close(),
  };
}

export function hashAndEncrypt(data: Uint8Array): void {
  const key = randomBytes(32);
  createHash('sha256').update(data).digest();
  for (let at = 0; at < data.length; at += largestUnit) {
    createCipheriv('aes-128-xts', key, randomBytes(16)).update(data.subarray(at, at + largestUnit));
  }
}

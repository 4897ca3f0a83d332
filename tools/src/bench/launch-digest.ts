import { createHash } from 'node:crypto';
import { buildResetVmsa, calculateLaunchDigest, vcpuSignatureOf } from '@vouchsafe/sev';
import type { Benchmark } from './measure.js';

const imageSize = 4 * 1024 * 1024;

/** What an owner computes to know what to expect, SEV-ES with one vCPU, against SHA-256 over the same bytes. */
export async function launchDigest(): Promise<Omit<Benchmark, 'name'>> {
  const firmware = new Uint8Array(imageSize).map((_, i) => (i * 31) & 0xff);
  const vcpuSignature = vcpuSignatureOf('EPYC-Milan');
  const vmsa = buildResetVmsa({ cpu: 'boot', vcpuSignature, fpu: 'set' });
  return {
    unit: 'MiB/s',
    amount: imageSize / 2 ** 20,
    ours: () => calculateLaunchDigest({ mode: 'seves', firmware, vcpus: 1, vcpuSignature }),
    raw: () => createHash('sha256').update(firmware).update(vmsa).digest(),
  };
}

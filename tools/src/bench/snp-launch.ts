import { createCipheriv, hash, randomBytes } from 'node:crypto';
import { softwareLauncher } from '@vouchsafe/host';
import { calculateSnpLaunchDigest } from '@vouchsafe/sev';
import type { Benchmark } from './measure.js';
import { snpConfiguration, snpMachine } from './snp-machine.js';

const pageSize = 4096;

/**
 * A whole launch of the project's firmware as a host drives it, up to LAUNCH_FINISH, and the guest taken down again. The
 * primitives are what each page costs at the least: two SHA-384 where it is measured, and its encryption.
 */
export async function snpLaunches(): Promise<Omit<Benchmark, 'name'>> {
  const machine = snpMachine(16 * 2 ** 20);
  const launcher = softwareLauncher(machine.host);
  const { steps } = await calculateSnpLaunchDigest(snpConfiguration);
  const measuredPages = steps
    .filter(({ type }) => type === 'NORMAL' || type === 'VMSA')
    .reduce((sum, { pages }) => sum + pages, 0);
  const otherPages = steps.reduce((sum, { pages }) => sum + pages, 0) - measuredPages;
  const page = randomBytes(pageSize);
  const info = new Uint8Array(0x70);
  return {
    unit: 'launches/s',
    amount: 1,
    async ours() {
      const guest = await launcher.launchSnp(snpConfiguration);
      await guest.resume();
      await guest.quit();
    },
    raw() {
      const key = randomBytes(32);
      for (let i = 0; i < measuredPages; i++) info.set(hash('sha384', page, 'buffer'), 48);
      for (let i = 0; i < measuredPages + otherPages; i++) {
        info.set(hash('sha384', info, 'buffer'));
        createCipheriv('aes-128-xts', key, randomBytes(16)).update(page);
      }
    },
    close: () => machine.close(),
  };
}

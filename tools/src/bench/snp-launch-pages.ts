import { createCipheriv, randomBytes } from 'node:crypto';
import {
  describeStatus,
  type SnpCommandName,
  type Structure,
  snpActivateBuffer,
  snpCommands,
  snpGctxBuffer,
  snpLaunchStartBuffer,
  snpLaunchUpdateBuffer,
  snpPageTypes,
} from '@vouchsafe/sev';
import type { Benchmark } from './measure.js';
import { snpMachine } from './snp-machine.js';

const mebibyte = 2 ** 20;
const largePage = 2 * mebibyte;
const size = 256 * mebibyte;
/** OpenSSL encrypts at most 2^20 blocks under one XTS tweak. */
const largestUnit = 16 * mebibyte;
const [command, context, asid] = [0x1000, 0x2000, 1];

/**
 * 256 MiB of launch pages in pages of 2 MiB, given to the guest and encrypted in place, against AES-128-XTS over as many
 * bytes in the largest pieces. Their contents are not measured: that has a benchmark of its own.
 */
export async function encryptedLaunchPages(): Promise<Omit<Benchmark, 'name'>> {
  const machine = snpMachine(size + 4 * largePage);
  const { host } = machine;

  async function call<T extends object, B extends object>(
    name: SnpCommandName,
    ...buffer: [] | [Structure<T, B>, B]
  ): Promise<void> {
    const [structure, values] = buffer;
    if (structure !== undefined && values !== undefined)
      await host.memory.write(command, structure.build(values));
    const status = await host.submit(snpCommands[name], structure === undefined ? 0 : command);
    if (status !== 0) throw new Error(`${name}: ${describeStatus(status).text}`);
  }

  const none = { assigned: true, immutable: true, size: '4K', asid: 0, guestAddress: 0 } as const;
  const gctxAddress = BigInt(context);
  await call('SNP_INIT');
  await host.writeBackAndInvalidate();
  await call('SNP_DF_FLUSH');
  await host.reverseMap.update(context, none);
  await call('SNP_GCTX_CREATE', snpGctxBuffer, { gctxAddress });
  await call('SNP_LAUNCH_START', snpLaunchStartBuffer, { gctxAddress, policy: 0x30000n });
  await call('SNP_ACTIVATE', snpActivateBuffer, { gctxAddress, asid });

  const page = { large: true, type: snpPageTypes.UNMEASURED, imiPage: false };
  const data = randomBytes(largestUnit);
  return {
    unit: 'MiB/s',
    amount: size / mebibyte,
    async ours() {
      for (let at = largePage; at <= size; at += largePage) {
        await host.reverseMap.update(at, { ...none, assigned: false, immutable: false, size: '2M' });
        await host.reverseMap.update(at, { ...none, size: '2M', asid, guestAddress: at });
        await call('SNP_LAUNCH_UPDATE', snpLaunchUpdateBuffer, {
          gctxAddress,
          page,
          pageAddress: BigInt(at),
        });
      }
    },
    raw() {
      const key = randomBytes(32);
      for (let at = 0; at < size; at += largestUnit)
        createCipheriv('aes-128-xts', key, randomBytes(16)).update(data);
    },
    close: () => machine.close(),
  };
}

import {
  type SnpCommandName,
  type SnpPageType,
  type Structure,
  snpActivateBuffer,
  snpCommands,
  snpGctxBuffer,
  snpLaunchFinishBuffer,
  snpLaunchStartBuffer,
  snpLaunchUpdateBuffer,
  snpPageTypes,
} from '@vouchsafe/sev';
import type { HostMachine, RmpUpdate } from '../mailbox.js';
import { expectSuccess, statusOf } from './hypervisor.js';
import { resetVmsa } from './snp-fixture.js';

const buffer = 0x1000;
const context = 0x20_0000;
const asid = 3;

/** Where the guest that `launchSnpGuest` launches has its things. */
export const launchedPlaces = {
  context,
  vmsa: { guest: 0xffff_ffff_f000, system: 0x20_1000 },
  memory: { guest: 0, system: 0x40_0000, length: 0x10_0000 },
  /** Not the guest's: shared with its host. */
  shared: { guest: 0x80_0000, system: 0x30_0000, length: 0x4000 },
} as const;

/**
 * Launches an SNP guest on a whole machine, with what its host sees of it alone: SNP_INIT, a boot VMSA, and the first
 * pages of its memory with this image; the rest of its memory is assigned to it and not valid.
 */
export async function launchSnpGuest(host: HostMachine, image: Uint8Array) {
  const { vmsa, memory, shared } = launchedPlaces;

  async function call<T extends object, B extends object>(
    name: SnpCommandName,
    ...command: [] | [Structure<T, B>, B]
  ): Promise<void> {
    const [structure, values] = command;
    if (structure !== undefined && values !== undefined)
      await host.memory.write(buffer, structure.build(values));
    expectSuccess(statusOf(await host.submit(snpCommands[name], structure === undefined ? 0 : buffer)));
  }

  async function rmpUpdate(address: number, request: Partial<RmpUpdate>): Promise<void> {
    const none = { assigned: true, size: '4K', immutable: false, guestAddress: 0, asid: 0 } as const;
    const status = await host.reverseMap.update(address, { ...none, ...request });
    if (status !== 0) throw new Error(`RMPUPDATE of 0x${address.toString(16)}: ${status}`);
  }

  async function load(type: SnpPageType, pageAddress: number, guestAddress: number, contents: Uint8Array) {
    await host.memory.write(pageAddress, contents);
    await rmpUpdate(pageAddress, { immutable: true, asid, guestAddress });
    const page = { large: false, type: snpPageTypes[type], imiPage: false };
    const values = { gctxAddress: BigInt(context), page, pageAddress: BigInt(pageAddress) };
    await call('SNP_LAUNCH_UPDATE', snpLaunchUpdateBuffer, values);
  }

  await call('SNP_INIT');
  await host.writeBackAndInvalidate();
  await call('SNP_DF_FLUSH');
  const gctxAddress = BigInt(context);
  await rmpUpdate(context, { immutable: true });
  await call('SNP_GCTX_CREATE', snpGctxBuffer, { gctxAddress });
  await call('SNP_LAUNCH_START', snpLaunchStartBuffer, { gctxAddress, policy: 0x30000n });
  await call('SNP_ACTIVATE', snpActivateBuffer, { gctxAddress, asid });
  for (let at = 0; at < memory.length; at += 4096) {
    const contents = image.slice(at, at + 4096);
    if (contents.length === 4096) await load('NORMAL', memory.system + at, memory.guest + at, contents);
    else await rmpUpdate(memory.system + at, { asid, guestAddress: memory.guest + at });
  }
  await load('VMSA', vmsa.system, vmsa.guest, resetVmsa());
  await call('SNP_LAUNCH_FINISH', snpLaunchFinishBuffer, { gctxAddress });

  const nestedPages = [memory, shared].map(({ guest, system, length }) => ({
    guestAddress: guest,
    systemAddress: system,
    length,
  }));
  return {
    control: { asid, nestedPages, vmsaAddress: vmsa.system },
    rmpUpdate,
    decommission: () => call('SNP_DECOMMISSION', snpGctxBuffer, { gctxAddress }),
    shutdown: () => call('SNP_SHUTDOWN'),
  };
}

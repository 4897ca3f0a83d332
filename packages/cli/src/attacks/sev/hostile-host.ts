import type { HostMachine, VmExit } from '@vouchsafe/firmware';
import { type Mailbox, type SoftwareVirtualMachine, withMailbox } from '@vouchsafe/host';
import {
  launchFinishBuffer,
  launchSecretBuffer,
  launchUpdateDataBuffer,
  launchUpdateVmsaBuffer,
} from '@vouchsafe/sev';

/** What a hostile host does to a guest of SEV or SEV-ES besides what an honest one would. */

type Guest = Pick<SoftwareVirtualMachine, 'handle'>;

/** LAUNCH_UPDATE_DATA or LAUNCH_UPDATE_VMSA over bytes that the host has just placed. */
export function loadMore(
  host: HostMachine,
  { handle }: Guest,
  kind: 'DATA' | 'VMSA',
  bytes: Uint8Array,
): Promise<unknown> {
  const buffer = kind === 'DATA' ? launchUpdateDataBuffer : launchUpdateVmsaBuffer;
  return withMailbox(host, async ({ place, run }) => {
    const { address, length } = await place(bytes);
    await run(`LAUNCH_UPDATE_${kind}`, buffer.build({ handle, address, length }));
  });
}

export interface Packet {
  readonly header: Uint8Array;
  readonly payload: Uint8Array;
}

/** LAUNCH_SECRET to a place in the host's memory, which need not be where the guest looks. */
export function injectAt(
  host: HostMachine,
  { handle }: Guest,
  packet: Packet,
  guestAddress: number,
): Promise<unknown> {
  return withMailbox(host, ({ place, run }) => injectWith({ place, run }, handle, packet, guestAddress));
}

async function injectWith(
  { place, run }: Mailbox,
  handle: number,
  { header, payload }: Packet,
  guestAddress: number,
) {
  const placedHeader = await place(header);
  const transport = await place(payload);
  await run(
    'LAUNCH_SECRET',
    launchSecretBuffer.build({
      handle,
      headerAddress: placedHeader.address,
      headerLength: header.length,
      guestAddress: BigInt(guestAddress),
      guestLength: payload.length,
      transportAddress: transport.address,
      transportLength: payload.length,
    }),
  );
}

/** LAUNCH_FINISH without letting the guest run yet. */
export function finish(host: HostMachine, { handle }: Guest): Promise<unknown> {
  return withMailbox(host, ({ run }) => run('LAUNCH_FINISH', launchFinishBuffer.build({ handle })));
}

/** One VMRUN, with the nested pages that the host chooses. */
export function enter(
  host: HostMachine,
  { asid, memory, vmsaAddresses }: SoftwareVirtualMachine,
  nestedPages = memory.nestedPages,
): Promise<VmExit> {
  const [vmsaAddress] = vmsaAddresses;
  return host.enter({ asid, nestedPages, ...(vmsaAddress === undefined ? {} : { vmsaAddress }) });
}

/** Resolves when the guest has booted or has ended. */
export function settled(vm: SoftwareVirtualMachine): Promise<'booted' | string> {
  return new Promise((resolve) => {
    const end = vm.onEvent((event) => {
      if (event.type !== 'booted' && event.type !== 'ended') return;
      end();
      resolve(event.type === 'booted' ? 'booted' : `${event.reason}: ${event.detail ?? 'no detail'}`);
    });
  });
}

import type { GuestProgram, GuestView } from '@vouchsafe/firmware/guest-view';
import {
  apCreationRequests,
  ghcbExitCodes,
  pvalidateStatus,
  UnavailableError,
  vmplPermissionBits,
  vmsa,
} from '@vouchsafe/sev';
import { callHost } from './ghcb-exit.js';

export interface StartVcpuOptions {
  /** Of the vCPU: 0 for the boot vCPU, whose lower privilege levels can be started too. */
  readonly apicId: number;
  /** 0 unless said otherwise. */
  readonly vmpl?: number;
  /** Guest address of a page of the guest's own, which becomes the VMSA and is nothing else any more. */
  readonly vmsaAddress: number;
  /** The state that the vCPU starts with, 4096 bytes. Its VMPL is filled in. */
  readonly state: Uint8Array;
  /** What its code does. */
  readonly program: GuestProgram;
}

/**
 * Starts a vCPU from a state in the guest's own memory (AP creation): nobody but the guest can have written that state,
 * because no page that the host could write is a VMSA.
 * @throws UnavailableError when the page cannot be a VMSA; HostCallError when the host does not start it
 */
export async function startVcpu(
  view: GuestView,
  ghcbAddress: number,
  { apicId, vmpl = 0, vmsaAddress, state, program }: StartVcpuOptions,
): Promise<void> {
  const page = state.slice();
  page[vmsa.offsetOf('vmpl')] = vmpl;
  await view.writePrivate(vmsaAddress, page);
  await view.place(program, vmsaAddress);
  const noAccess = Number(vmplPermissionBits.build({}));
  const status = await view.rmpadjust(vmsaAddress, { targetVmpl: 1, permissions: noAccess, vmsa: true });
  if (status !== pvalidateStatus.SUCCESS) {
    throw new UnavailableError('VMSA', `RMPADJUST of 0x${vmsaAddress.toString(16)} failed with ${status}`, {
      hint: 'name a page that the guest has validated, and that is no vCPU’s yet',
    });
  }
  const { sevFeatures } = vmsa.parse(page);
  await callHost(view, ghcbAddress, {
    exitCode: ghcbExitCodes.AP_CREATION,
    exitInfo1: (BigInt(apicId) << 32n) | (BigInt(vmpl) << 16n) | BigInt(apCreationRequests.CREATE),
    exitInfo2: BigInt(vmsaAddress),
    rax: sevFeatures,
  });
}

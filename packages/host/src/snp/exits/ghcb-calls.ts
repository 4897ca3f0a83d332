import {
  apCreationRequests,
  type GhcbRegister,
  ghcb,
  ghcbExitCodes,
  isGhcbRegisterValid,
  snpGuestRequestExitInfo2,
} from '@vouchsafe/sev';
import type { BootDevice } from '../../launch/boot-device.js';
import { type GhcbCall, refuseCall, type Served, serveCommonExit } from '../../launch/vmgexit.js';
import type { GuestPageOwner } from '../guest-pages.js';
import type { GuestRequestRelay } from './guest-requests.js';
import { changePageStates } from './page-state-changes.js';

/** What a guest wants of a vCPU (GHCB specification 2.0, AP creation). */
export interface ApCreation {
  readonly apicId: number;
  readonly vmpl: number;
  readonly request: keyof typeof apCreationRequests;
  readonly vmsaGuestAddress: number;
  readonly guestFeatures: bigint;
}

/** What a guest's calls through its GHCB are served with. */
export interface GhcbCallOptions {
  readonly pages: GuestPageOwner;
  readonly device: BootDevice;
  readonly requests: GuestRequestRelay;
  /** @returns false when the vCPU is not made as asked */
  createAp(creation: ApCreation): Promise<boolean>;
}

export interface SnpCall extends GhcbCall {
  readonly ghcbAddress: number;
  answer(
    exitInfo1: bigint,
    exitInfo2?: bigint,
    more?: { readonly rbx?: bigint; readonly sharedBuffer?: Uint8Array },
  ): Promise<Served>;
}

/** Serves what a guest of SEV-SNP asks for besides what every guest with a GHCB does. */
export async function serveSnpExit(
  call: SnpCall,
  { device, pages, requests, createAp }: GhcbCallOptions,
): Promise<Served> {
  const { request, answer, ghcbAddress } = call;
  const { exitInfo1, exitInfo2 } = request;
  const has = (...names: GhcbRegister[]) => names.every((name) => isGhcbRegisterValid(request, name));
  switch (request.exitCode) {
    case ghcbExitCodes.PAGE_STATE_CHANGE: {
      const buffer = BigInt(ghcbAddress + ghcb.offsetOf('sharedBuffer'));
      if (!has('scratch') || request.scratch !== buffer) return refuseCall(call, 'invalidInput');
      const { list, exitInfo2: result } = await changePageStates(pages, request.sharedBuffer);
      const sharedBuffer = request.sharedBuffer.slice();
      sharedBuffer.set(list);
      return answer(0n, result, { sharedBuffer });
    }
    case ghcbExitCodes.GUEST_REQUEST:
    case ghcbExitCodes.EXT_GUEST_REQUEST: {
      const isExtended = request.exitCode === ghcbExitCodes.EXT_GUEST_REQUEST;
      if (!has('exitInfo1', 'exitInfo2') || (isExtended && !has('rax', 'rbx')))
        return refuseCall(call, 'invalidInput');
      const certificates = { address: Number(request.rax), pages: Number(request.rbx) };
      const result = await requests.serve({
        requestAddress: Number(exitInfo1),
        responseAddress: Number(exitInfo2),
        ...(isExtended ? { certificates } : {}),
      });
      const { neededPages } = result;
      const rbx = neededPages === undefined ? {} : { rbx: BigInt(neededPages) };
      return answer(0n, snpGuestRequestExitInfo2(result), rbx);
    }
    case ghcbExitCodes.AP_CREATION: {
      const creation = has('exitInfo1', 'exitInfo2') ? apCreationIn(request) : undefined;
      return creation !== undefined && (await createAp(creation))
        ? answer(0n)
        : refuseCall(call, 'invalidInput');
    }
    default:
      return serveCommonExit(call, device);
  }
}

function apCreationIn({
  exitInfo1,
  exitInfo2,
  rax,
}: Pick<GhcbCall['request'], 'exitInfo1' | 'exitInfo2' | 'rax'>): ApCreation | undefined {
  const number = Number(BigInt.asUintN(3, exitInfo1));
  const request = Object.entries(apCreationRequests).find(([, value]) => value === number)?.[0];
  if (request === undefined) return undefined;
  return {
    apicId: Number(BigInt.asUintN(32, exitInfo1 >> 32n)),
    vmpl: Number(BigInt.asUintN(4, exitInfo1 >> 16n)),
    request: request as ApCreation['request'],
    vmsaGuestAddress: Number(exitInfo2),
    guestFeatures: rax,
  };
}

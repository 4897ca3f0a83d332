import type { HostMachine, VmExit } from '@vouchsafe/firmware/mailbox';
import {
  apCreationRequests,
  type GhcbRegister,
  ghcb,
  ghcbExitCodes,
  ghcbMsrCode,
  ghcbMsrCodes,
  ghcbMsrFeatures,
  ghcbMsrPageStateRequest,
  ghcbMsrPageStateResponse,
  ghcbMsrRegistration,
  ghcbMsrSevInformation,
  ghcbRefusedFrame,
  ghcbValidBitmap,
  isGhcbRegisterValid,
  pageStateOperations,
  snpGuestRequestExitInfo2,
} from '@vouchsafe/sev';
import type { BootDevice } from '../launch/boot-device.js';
import type { GuestMemory } from '../launch/guest-memory.js';
import { type GhcbCall, refuseCall, type Served, serveCommonExit } from '../launch/vmgexit.js';
import type { GuestPageOwner } from './guest-pages.js';
import type { GuestRequestRelay } from './guest-requests.js';
import { changePageState, changePageStates } from './page-state-changes.js';
import { smallPage } from './pages.js';

/** What a guest wants of a vCPU (GHCB specification 2.0, AP creation). */
export interface ApCreation {
  readonly apicId: number;
  readonly vmpl: number;
  readonly request: keyof typeof apCreationRequests;
  readonly vmsaGuestAddress: number;
  readonly guestFeatures: bigint;
}

export interface SnpExitOptions {
  readonly machine: HostMachine;
  readonly memory: GuestMemory;
  readonly pages: GuestPageOwner;
  readonly device: BootDevice;
  readonly requests: GuestRequestRelay;
  /** @returns false when the vCPU is not made as asked */
  createAp(creation: ApCreation): Promise<boolean>;
}

/** The exits of one vCPU of a SEV-SNP guest. */
export interface SnpExits {
  /** What the guest finds in its GHCB MSR at the next VMRUN. */
  readonly ghcbMsr: bigint;
  serve(exit: VmExit): Promise<Served>;
}

/** Versions of the GHCB's protocol that are served. SEV-SNP began with 2. */
const protocolVersions = { leastVersion: 1, mostVersion: 2 } as const;

export function snpExits(options: SnpExitOptions): SnpExits {
  const { machine, memory, pages } = options;
  let ghcbMsr = 0n;
  let registered: number | undefined;
  let lastFault = '';

  async function serve(exit: VmExit): Promise<Served> {
    if (exit.reason !== 'npf') lastFault = '';
    switch (exit.reason) {
      case 'vmgexit':
        if (exit.ghcbGuestAddress !== registered)
          return fault('the guest left with a GHCB that it has not registered');
        return serveGhcb(registered);
      case 'msr-protocol':
        return serveMsr(exit.request);
      case 'npf':
        return serveNestedPageFault(exit);
      case 'hlt':
        return 'halted';
      case 'shutdown':
        return { ended: 'shutdown', detail: 'triple fault' };
      case 'ioio':
        return fault('the guest is none of SEV-SNP');
      case 'invalid':
        return fault(exit.detail);
    }
  }

  async function serveMsr(request: bigint): Promise<Served> {
    switch (ghcbMsrCode(request)) {
      case ghcbMsrCodes.SEV_INFORMATION_REQUEST:
        return answerMsr(
          ghcbMsrSevInformation.build({
            code: ghcbMsrCodes.SEV_INFORMATION,
            cBitPosition: machine.capabilities.cBitPosition,
            ...protocolVersions,
          }),
        );
      case ghcbMsrCodes.FEATURES_REQUEST:
        return answerMsr(
          ghcbMsrFeatures.build({ code: ghcbMsrCodes.FEATURES_RESPONSE, snp: true, apCreation: true }),
        );
      case ghcbMsrCodes.PAGE_STATE_REQUEST:
        return answerMsr(
          ghcbMsrPageStateResponse.build({
            code: ghcbMsrCodes.PAGE_STATE_RESPONSE,
            error: (await changeOnePage(request)) ? 0 : 1,
          }),
        );
      case ghcbMsrCodes.REGISTER_REQUEST:
        return answerMsr(register(request));
      case ghcbMsrCodes.TERMINATE:
        return { ended: 'shutdown', detail: `the guest asked to be ended (0x${request.toString(16)})` };
      default:
        return fault(`the guest asked for 0x${request.toString(16)} in its GHCB MSR`);
    }
  }

  function answerMsr(answer: bigint): Served {
    ghcbMsr = answer;
    return 'enter-again';
  }

  async function changeOnePage(request: bigint): Promise<boolean> {
    const { frame, operation } = ghcbMsrPageStateRequest.parse(request);
    const address = frame * smallPage;
    const known = { PRIVATE: pageStateOperations.PRIVATE, SHARED: pageStateOperations.SHARED };
    for (const [name, number] of Object.entries(known)) {
      if (number !== operation) continue;
      const change = { operation: name as keyof typeof known, address, large: false };
      return (await changePageState(pages, change)) === 0n;
    }
    return false;
  }

  function register(request: bigint): bigint {
    const { frame } = ghcbMsrRegistration.parse(request);
    const address = frame * smallPage;
    const usable = memory.systemAddress(address, ghcb.size) !== undefined;
    if (usable) registered = address;
    const code = ghcbMsrCodes.REGISTER_RESPONSE;
    return ghcbMsrRegistration.build({ code, frame: usable ? frame : ghcbRefusedFrame });
  }

  async function serveGhcb(guestAddress: number): Promise<Served> {
    const at = memory.requireSystemAddress(guestAddress, ghcb.size);
    const request = ghcb.parse(await machine.memory.read(at, ghcb.size));
    const answer: SnpCall['answer'] = async (exitInfo1, exitInfo2 = 0n, more = {}) => {
      const validBitmap = request.validBitmap.slice();
      const changed = ghcbValidBitmap(more.rbx === undefined ? [] : ['rbx']);
      for (const [i, byte] of changed.entries()) validBitmap[i]! |= byte;
      const block = { ...request, ...more, validBitmap, exitInfo1, exitInfo2 };
      await machine.memory.write(at, ghcb.build(block));
      return 'enter-again';
    };
    return serveSnpExit({ request, answer, ghcbAddress: guestAddress }, options);
  }

  /**
   * A guest's first touch of memory that it has not talked about yet: as KVM does, memory is private unless the guest
   * uses it as shared.
   */
  async function serveNestedPageFault({
    guestAddress,
    violation,
  }: Extract<VmExit, { reason: 'npf' }>): Promise<Served> {
    const page = guestAddress - (guestAddress % smallPage);
    const where = `at guest address 0x${guestAddress.toString(16)}`;
    if (violation === undefined || memory.systemAddress(page, smallPage) === undefined)
      return fault(`no memory ${where}`);
    if (violation.vmpl) return fault(`the privilege level of the vCPU does not allow what it does ${where}`);
    const shown = `${page} ${JSON.stringify(violation)}`;
    if (shown === lastFault) return fault(`the guest cannot use its memory ${where}`);
    lastFault = shown;
    if (violation.sizeMismatch) await pages.split(page);
    else if (!violation.encrypted) await pages.makeShared(page);
    else if (!(await pages.isPrivate(page))) await pages.makePrivate(page, '4K');
    return 'enter-again';
  }

  return {
    get ghcbMsr() {
      return ghcbMsr;
    },
    serve,
  };
}

const fault = (detail: string): Served => ({ ended: 'fault', detail });

interface SnpCall extends GhcbCall {
  readonly ghcbAddress: number;
  answer(
    exitInfo1: bigint,
    exitInfo2?: bigint,
    more?: { readonly rbx?: bigint; readonly sharedBuffer?: Uint8Array },
  ): Promise<Served>;
}

/** Serves what a guest of SEV-SNP asks for besides what every guest with a GHCB does. */
async function serveSnpExit(
  call: SnpCall,
  { device, pages, requests, createAp }: SnpExitOptions,
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

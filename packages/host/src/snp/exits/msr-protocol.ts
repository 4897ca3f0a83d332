import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import {
  ghcb,
  ghcbMsrCode,
  ghcbMsrCodes,
  ghcbMsrFeatures,
  ghcbMsrPageStateRequest,
  ghcbMsrPageStateResponse,
  ghcbMsrRegistration,
  ghcbMsrSevInformation,
  ghcbRefusedFrame,
  pageStateOperations,
} from '@vouchsafe/sev';
import type { GuestMemory } from '../../launch/guest-memory.js';
import { fault, type Served } from '../../launch/vmgexit.js';
import type { GuestPageOwner } from '../guest-pages.js';
import { smallPage } from '../pages.js';
import { changePageState } from './page-state-changes.js';

/** What a guest asks of its host in the GHCB MSR, which is all that it has before it shares a GHCB; of one vCPU. */
export interface MsrProtocol {
  /** What the guest finds in its GHCB MSR at the next VMRUN. */
  readonly answer: bigint;
  /** Guest address of the GHCB that it has registered. */
  readonly ghcbAddress: number | undefined;
  serve(request: bigint): Promise<Served>;
}

export interface MsrProtocolOptions {
  readonly machine: HostMachine;
  readonly memory: GuestMemory;
  readonly pages: GuestPageOwner;
}

/** Versions of the GHCB's protocol that are served. SEV-SNP began with 2. */
const protocolVersions = { leastVersion: 1, mostVersion: 2 } as const;

export function msrProtocol({ machine, memory, pages }: MsrProtocolOptions): MsrProtocol {
  let answer = 0n;
  let ghcbAddress: number | undefined;

  async function serve(request: bigint): Promise<Served> {
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

  function answerMsr(value: bigint): Served {
    answer = value;
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
    if (usable) ghcbAddress = address;
    const code = ghcbMsrCodes.REGISTER_RESPONSE;
    return ghcbMsrRegistration.build({ code, frame: usable ? frame : ghcbRefusedFrame });
  }

  return {
    get answer() {
      return answer;
    },
    get ghcbAddress() {
      return ghcbAddress;
    },
    serve,
  };
}

import type { GuestView } from '@vouchsafe/firmware/guest-view';
import {
  buildPageStateChange,
  ghcb,
  ghcbExitCodes,
  ghcbMsrCode,
  ghcbMsrCodes,
  ghcbMsrFeatures,
  ghcbMsrPageStateResponse,
  ghcbMsrRegistration,
  ghcbMsrSevInformation,
  type PageStateChange,
  parsePageStateChange,
  pvalidateStatus,
} from '@vouchsafe/sev';

/** What a host of the test's choice answers. Each gets what an honest host would answer. */
export interface FakeSnpHostOptions {
  readonly msr?: (request: bigint, honest: bigint) => bigint;
  /** The list as it comes back, and SW_EXITINFO2. */
  readonly pageStates?: (honest: PageStateChange) => PageStateChange & { readonly exitInfo2?: bigint };
  /** The GHCB as it comes back. */
  readonly ghcb?: (honest: Uint8Array) => Uint8Array;
  /** Addresses of pages that are 4 KiB in the reverse map table whatever was asked. */
  readonly onlySmall?: boolean;
  /** Pages that are validated before the guest runs. */
  readonly validated?: readonly number[];
  /** Status of PVALIDATE for a page. */
  readonly pvalidate?: (address: number) => number | undefined;
}

const smallPage = 0x1000;

/** A vCPU of a SEV-SNP guest whose host is the test: shared memory, page states, GHCB and its MSR. */
export function fakeSnpHost(options: FakeSnpHostOptions = {}) {
  const shared = new Map<number, Uint8Array>();
  const validated = new Set(options.validated);
  const log: string[] = [];
  const sharedPage = (address: number) => {
    const page = shared.get(address) ?? new Uint8Array(smallPage);
    shared.set(address, page);
    return page;
  };

  function honestMsr(request: bigint): bigint {
    switch (ghcbMsrCode(request)) {
      case ghcbMsrCodes.SEV_INFORMATION_REQUEST:
        return ghcbMsrSevInformation.build({
          code: ghcbMsrCodes.SEV_INFORMATION,
          cBitPosition: 51,
          leastVersion: 1,
          mostVersion: 2,
        });
      case ghcbMsrCodes.FEATURES_REQUEST:
        return ghcbMsrFeatures.build({ code: ghcbMsrCodes.FEATURES_RESPONSE, snp: true, apCreation: true });
      case ghcbMsrCodes.PAGE_STATE_REQUEST:
        return ghcbMsrPageStateResponse.build({ code: ghcbMsrCodes.PAGE_STATE_RESPONSE, error: 0 });
      default: {
        const { frame } = ghcbMsrRegistration.parse(request);
        return ghcbMsrRegistration.build({ code: ghcbMsrCodes.REGISTER_RESPONSE, frame });
      }
    }
  }

  function answerPageStates(block: ReturnType<typeof ghcb.parse>): Uint8Array {
    const change = parsePageStateChange(block.sharedBuffer);
    for (const { operation, address, large } of change.entries) {
      log.push(`${operation.toLowerCase()} 0x${address.toString(16)}${large ? ' 2M' : ''}`);
    }
    const honest = { current: change.entries.length, entries: change.entries };
    const { exitInfo2 = 0n, ...list } = { exitInfo2: 0n, ...(options.pageStates?.(honest) ?? honest) };
    const sharedBuffer = block.sharedBuffer.slice();
    sharedBuffer.set(buildPageStateChange(list));
    return ghcb.build({ ...block, exitInfo1: 0n, exitInfo2, sharedBuffer });
  }

  const refuse = () => Promise.reject(new Error('not asked for in these tests'));
  const view: GuestView = {
    encryptedState: true,
    snp: true,
    vmpl: 0,
    registers: { rip: 0, rsp: 0n, rax: 0n, rbx: 0n, rcx: 0n, rdx: 0n },
    readPrivate: refuse,
    writePrivate: refuse,
    readShared: async (address, length) => sharedPage(address).slice(0, length),
    writeShared: async (address, bytes) => sharedPage(address).set(bytes),
    async msrProtocol(request) {
      log.push(`MSR 0x${ghcbMsrCode(request).toString(16)}`);
      const honest = honestMsr(request);
      return options.msr?.(request, honest) ?? honest;
    },
    async vmgexit(address) {
      const block = ghcb.parse(sharedPage(address).slice());
      const isChange = block.exitCode === ghcbExitCodes.PAGE_STATE_CHANGE;
      const honest = isChange ? answerPageStates(block) : ghcb.build({ ...block, exitInfo1: 0n });
      sharedPage(address).set(options.ghcb?.(honest) ?? honest);
    },
    async pvalidate(address, { size, validate }) {
      const status = options.pvalidate?.(address);
      if (status !== undefined) return { status, changed: false };
      if (size === '2M' && options.onlySmall === true)
        return { status: pvalidateStatus.FAIL_SIZEMISMATCH, changed: false };
      log.push(`${validate ? 'validate' : 'rescind'} 0x${address.toString(16)}${size === '2M' ? ' 2M' : ''}`);
      const changed = validated.has(address) !== validate;
      if (validate) validated.add(address);
      else validated.delete(address);
      return { status: pvalidateStatus.SUCCESS, changed };
    },
    rmpadjust: refuse,
    place: refuse,
    out: refuse,
    halt: refuse,
    shutdown: refuse,
  };
  return { view, log, validated };
}

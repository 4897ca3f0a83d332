import type { VmExit } from '@vouchsafe/firmware/mailbox';
import { ghcb, ghcbValidBitmap } from '@vouchsafe/sev';
import { fault, type Served } from '../../launch/vmgexit.js';
import { smallPage } from '../pages.js';
import { type GhcbCallOptions, type SnpCall, serveSnpExit } from './ghcb-calls.js';
import { type MsrProtocolOptions, msrProtocol } from './msr-protocol.js';

/** The exits of one vCPU of a SEV-SNP guest. */
export interface SnpExits {
  /** What the guest finds in its GHCB MSR at the next VMRUN. */
  readonly ghcbMsr: bigint;
  serve(exit: VmExit): Promise<Served>;
}

export interface SnpExitOptions extends GhcbCallOptions, MsrProtocolOptions {}

export function snpExits(options: SnpExitOptions): SnpExits {
  const { machine, memory, pages } = options;
  const msr = msrProtocol(options);
  let lastFault = '';

  async function serve(exit: VmExit): Promise<Served> {
    if (exit.reason !== 'npf') lastFault = '';
    switch (exit.reason) {
      case 'vmgexit':
        if (exit.ghcbGuestAddress !== msr.ghcbAddress)
          return fault('the guest left with a GHCB that it has not registered');
        return serveGhcb(msr.ghcbAddress);
      case 'msr-protocol':
        return msr.serve(exit.request);
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
      return msr.answer;
    },
    serve,
  };
}

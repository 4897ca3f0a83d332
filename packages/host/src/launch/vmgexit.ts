import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { bootDevicePort, ioioExitInformation } from '@vouchsafe/protocol';
import { ghcb, ghcbExitCodes, isGhcbRegisterValid } from '@vouchsafe/sev';
import type { BootDevice } from './boot-device.js';
import type { GuestMemory } from './guest-memory.js';

/** What the vCPU does after the hypervisor has served it. */
export type Served =
  | 'enter-again'
  | 'halted'
  | { readonly ended: 'shutdown' | 'fault'; readonly detail: string };

export const fault = (detail: string): Served => ({ ended: 'fault', detail });

type Request = ReturnType<typeof ghcb.parse>;

/** A GHCB as the guest left it, copied once, and the way to answer. */
export interface GhcbCall {
  readonly request: Request;
  answer(exitInfo1: bigint, exitInfo2?: bigint): Promise<Served>;
}

/** Reasons in SW_EXITINFO2 when SW_EXITINFO1 says that the input was malformed (GHCB specification 2.0, 4.1.3). */
const malformedInput = 2n;
const malformedReasons = { missingInput: 4n, invalidInput: 5n, unknownEvent: 6n } as const;

/** The guest did not say what it wants, or wants what there is not. */
export function refuseCall(call: GhcbCall, reason: keyof typeof malformedReasons): Promise<Served> {
  return call.answer(malformedInput, malformedReasons[reason]);
}

/** Serves a VMGEXIT of a SEV-ES guest: all that the host learns of it stands in the GHCB page. */
export async function serveVmgexit(
  machine: HostMachine,
  memory: GuestMemory,
  device: BootDevice,
  ghcbGuestAddress: number,
): Promise<Served> {
  const at = memory.systemAddress(ghcbGuestAddress, ghcb.size);
  if (at === undefined) return fault('the GHCB lies outside the memory of the guest');
  const request = ghcb.parse(await machine.memory.read(at, ghcb.size));
  const answer = async (exitInfo1: bigint, exitInfo2 = 0n): Promise<Served> => {
    await machine.memory.write(at, ghcb.build({ ...request, exitInfo1, exitInfo2 }));
    return 'enter-again';
  };
  return serveCommonExit({ request, answer }, device);
}

/** Serves what every guest with a GHCB may ask for. */
export async function serveCommonExit(call: GhcbCall, device: BootDevice): Promise<Served> {
  const { request, answer } = call;
  if (!isGhcbRegisterValid(request, 'exitCode')) return refuseCall(call, 'missingInput');
  switch (request.exitCode) {
    case ghcbExitCodes.IOIO: {
      const port = outputToPort(request);
      if (port === undefined) return refuseCall(call, 'invalidInput');
      if (port === bootDevicePort) await device.serve(Number(request.rax & 0xffff_ffffn));
      return answer(0n);
    }
    case ghcbExitCodes.HLT:
      return 'halted';
    case ghcbExitCodes.SHUTDOWN:
    case ghcbExitCodes.TERMINATE:
      return { ended: 'shutdown', detail: 'the guest asked to be ended' };
    default:
      return refuseCall(call, 'unknownEvent');
  }
}

/** Port of a plain four-byte OUT, with its value in RAX; undefined for every other kind. */
function outputToPort(request: Request): number | undefined {
  const { exitInfo1 } = request;
  const { port } = ioioExitInformation.parse(exitInfo1);
  const isPlain = exitInfo1 === ioioExitInformation.build({ size32: true, port });
  return isPlain && isGhcbRegisterValid(request, 'exitInfo1') && isGhcbRegisterValid(request, 'rax')
    ? port
    : undefined;
}

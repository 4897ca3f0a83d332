import type { GuestView } from '@vouchsafe/firmware/guest-view';
import { type GhcbRegister, ghcb, ghcbValidBitmap, VouchsafeError } from '@vouchsafe/sev';

/** What a guest asks its host through the GHCB. */
export interface HostCall {
  /** One of `ghcbExitCodes`. */
  readonly exitCode: bigint;
  readonly exitInfo1?: bigint;
  readonly exitInfo2?: bigint;
  readonly rax?: bigint;
  readonly rbx?: bigint;
  readonly scratch?: bigint;
  /** At most 2032 bytes. */
  readonly sharedBuffer?: Uint8Array;
}

/** What stands in the GHCB afterwards. All of it comes from the host. */
export type HostAnswer = Required<HostCall>;

/** The host did not understand a call, or wants an exception raised: nothing was done. */
export class HostCallError extends VouchsafeError {
  readonly code = 'host-call';

  constructor(call: bigint, answer: string) {
    super(`the host does not serve exit 0x${call.toString(16)}: ${answer}`, {
      hint: 'the guest needs a hypervisor that serves it',
    });
  }
}

/** The call that is under way, by vCPU: it has one GHCB, and its exits are served one at a time. */
const underWay = new WeakMap<GuestView, Promise<unknown>>();

/**
 * Leaves to the host through the GHCB (VMGEXIT) and gives back what the host left there. Calls at the same time wait for
 * each other.
 * @param ghcbAddress guest address of a page that is shared with the host; with SEV-SNP, one that is registered
 * @throws HostCallError when SW_EXITINFO1 says that the host did nothing
 */
export function callHost(view: GuestView, ghcbAddress: number, call: HostCall): Promise<HostAnswer> {
  const before = underWay.get(view) ?? Promise.resolve();
  const own = before.then(() => exit(view, ghcbAddress, call));
  underWay.set(
    view,
    own.catch(() => undefined),
  );
  return own;
}

async function exit(view: GuestView, ghcbAddress: number, call: HostCall): Promise<HostAnswer> {
  const { exitCode, exitInfo1 = 0n, exitInfo2 = 0n, sharedBuffer, ...registers } = call;
  const used = Object.keys(registers) as GhcbRegister[];
  const block = ghcb.build({
    ...registers,
    exitCode,
    exitInfo1,
    exitInfo2,
    ...(sharedBuffer === undefined ? {} : { sharedBuffer: filled(sharedBuffer) }),
    validBitmap: ghcbValidBitmap(['exitCode', 'exitInfo1', 'exitInfo2', ...used]),
    protocolVersion: view.snp ? 2 : 1,
  });
  await view.writeShared(ghcbAddress, block);
  await view.vmgexit(ghcbAddress);
  // Copied once: the host can change the page while it is read.
  const answer = ghcb.parse(await view.readShared(ghcbAddress, ghcb.size));
  const outcome = BigInt.asUintN(32, answer.exitInfo1);
  if (outcome === 2n) throw new HostCallError(exitCode, `malformed input, reason ${answer.exitInfo2}`);
  if (outcome !== 0n) throw new HostCallError(exitCode, 'it wants an exception raised');
  return answer;
}

function filled(bytes: Uint8Array): Uint8Array {
  const buffer = new Uint8Array(ghcb.fields['sharedBuffer']!.size);
  buffer.set(bytes);
  return buffer;
}

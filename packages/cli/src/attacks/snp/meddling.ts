import { GuestFault, type HostMachine, type VmExit } from '@vouchsafe/firmware';
import { type SoftwareSnpMachine, withMailbox } from '@vouchsafe/host';
import {
  buildResetVmsa,
  guestMessageSize,
  type SnpCommandName,
  snpGuestRequestBuffer,
  statusCodes,
  vcpuSignatureOf,
} from '@vouchsafe/sev';
import type { Outcome } from '../attack.js';
import type { Interference } from '../interfering-host.js';
import type { BootedSnpGuest, SnpRig } from './world.js';

/** What a hostile host of SEV-SNP guests does: with their nested pages, their exits, and the messages that it carries. */

/** One command of the host's own. */
export function runCommand(
  host: HostMachine,
  command: SnpCommandName,
  buffer?: Uint8Array,
): Promise<Uint8Array> {
  return withMailbox(host, ({ run }) => run(command, buffer));
}

/** One VMRUN of the host's own, of the boot vCPU unless it names another page as the VMSA. */
export async function enterOnce(
  host: HostMachine,
  { asid, memory, vmsaAddresses }: Pick<SoftwareSnpMachine, 'asid' | 'memory' | 'vmsaAddresses'>,
  otherwise: string,
  vmsaAddress = vmsaAddresses[0]!,
): Promise<Outcome> {
  const exit = await host.enter({ asid, nestedPages: memory.nestedPages, vmsaAddress });
  return exit.reason === 'invalid'
    ? { refusedBy: 'CPU', at: 'VMEXIT_INVALID', evidence: exit.detail }
    : { refusedBy: 'nobody', at: otherwise, evidence: `VMRUN went ahead, and came back for ${exit.reason}` };
}

/** First register state of a boot vCPU, as an honest launch of these guests has it: 4096 bytes. */
export const bootState = () =>
  buildResetVmsa({
    cpu: 'boot',
    vcpuSignature: vcpuSignatureOf('EPYC-Milan'),
    fpu: 'set',
    sevFeatures: 1n,
  });

type Violation = Extract<VmExit, { reason: 'npf' }>;

/** What came of something that the guest did with its memory. */
type Touched = { readonly fault: GuestFault } | { readonly violation: Violation } | { readonly done: true };

/**
 * Lets the guest use its memory, and stops it where the reverse map table, or its own page fault, does.
 * @returns who kept it from being deceived; where nobody did, the host achieved `otherwise`
 */
export async function touchOutcome(
  { interference }: SnpRig,
  otherwise: string,
  work: () => Promise<unknown>,
): Promise<Outcome> {
  const stopped = new Promise<Touched>((resolve) => {
    interference.exit = (exit) => {
      if (exit.reason !== 'npf' || exit.violation === undefined) return exit;
      resolve({ violation: exit });
      return { reason: 'hlt' };
    };
  });
  const done = work().then(
    () => ({ done: true }) as const,
    (fault: unknown) => {
      if (fault instanceof GuestFault) return { fault };
      throw fault;
    },
  );
  done.catch(() => undefined);
  return outcomeOf(await Promise.race([done, stopped]), otherwise);
}

function outcomeOf(touched: Touched, otherwise: string): Outcome {
  if ('violation' in touched) {
    const { guestAddress, violation } = touched.violation;
    const at = violation?.vmpl === true ? '#NPF(RMP, VMPL)' : '#NPF(RMP)';
    const where = `0x${guestAddress.toString(16)}`;
    return {
      refusedBy: 'reverse map',
      at,
      evidence: `the access to ${where} left the guest with a nested page fault, and nothing was read or written`,
    };
  }
  if ('fault' in touched && touched.fault.fault === 'general-protection')
    return { refusedBy: 'CPU', at: '#GP', evidence: touched.fault.message };
  if ('fault' in touched)
    return { refusedBy: 'guest', at: touched.fault.fault, evidence: touched.fault.message };
  return { refusedBy: 'nobody', at: otherwise, evidence: 'the guest went on' };
}

/** The guest's next exit and entry: nested pages that the host has changed are in force behind it. */
export async function nextEntry({ guest }: BootedSnpGuest): Promise<void> {
  await guest.print('still here');
}

/** What a host gives back for one message. */
export interface Carried {
  /** Status of the firmware, as the host reports it. */
  readonly status: number;
  /** 4096 bytes. */
  readonly response: Uint8Array;
}

/** What a host does with a message: `toFirmware` takes one to the firmware, this one or another, as this guest’s or another’s. */
export type Carrier = (
  message: Uint8Array,
  toFirmware: (message: Uint8Array, gctxAddress?: bigint) => Promise<Carried>,
) => Promise<Carried>;

export const withheld: Carried = { status: statusCodes.SUCCESS, response: new Uint8Array(guestMessageSize) };

/** From now on the host does with the guest messages that it carries as the carrier says. */
export function carry({ machine, interference }: SnpRig, carrier: Carrier): void {
  const honest = machine.host;
  let forged: { readonly address: number; readonly bytes: Uint8Array } | undefined;
  Object.assign(interference, {
    read: (address, bytes) =>
      forged !== undefined && address === forged.address && bytes.length === guestMessageSize
        ? forged.bytes
        : bytes,
    async submit(command, bufferAddress, honestly) {
      if (command !== 'SNP_GUEST_REQUEST') return honestly();
      forged = undefined;
      const { size } = snpGuestRequestBuffer;
      const buffer = snpGuestRequestBuffer.parse(await honest.memory.read(bufferAddress, size));
      const [from, to] = [Number(buffer.requestAddress), Number(buffer.responseAddress)];
      const toFirmware = async (message: Uint8Array, gctxAddress = buffer.gctxAddress): Promise<Carried> => {
        await honest.memory.write(from, message);
        await honest.memory.write(bufferAddress, snpGuestRequestBuffer.build({ ...buffer, gctxAddress }));
        const status = await honestly();
        return { status, response: await honest.memory.read(to, guestMessageSize) };
      };
      const { status, response } = await carrier(
        await honest.memory.read(from, guestMessageSize),
        toFirmware,
      );
      forged = { address: to, bytes: response };
      return status;
    },
  } satisfies Interference);
}

import { connectGuest, GuestFault } from '@vouchsafe/firmware';
import {
  type AttestationDevice,
  type BootedGuest,
  connectKeyBroker,
  type GuestInit,
  guestFirmwareProgram,
  type KeyBrokerClient,
  parseAgentKernelParameters,
} from '@vouchsafe/guest';
import { InvalidArgumentError, parseSnpReport, toHex } from '@vouchsafe/sev';
import type { Narrator } from '../narration.js';

/**
 * Runs `init` in each machine that the host starts, one after the other. A machine that is up ends when its host switches
 * it off: that is no failure.
 */
export async function attachMachines(
  socket: string,
  failed: (error: unknown) => void,
  init: GuestInit,
): Promise<void> {
  await connectGuest(
    socket,
    async (view) => {
      let isUp = false;
      const program = guestFirmwareProgram({
        async init(guest) {
          await init(guest);
          isUp = true;
        },
        onFailure: failed,
      });
      try {
        await program(view);
      } catch (error) {
        if (!isUp) failed(error);
        throw error;
      }
    },
    (error) => {
      if (!(error instanceof GuestFault)) failed(error);
    },
  );
}

/** What a machine that has booted knows of its owner, all of it measured. */
export interface OwnersWords {
  readonly commandLine: string;
  readonly broker: string;
}

/** @throws InvalidArgumentError when the command line names no broker */
export function ownersWords({ files }: BootedGuest): OwnersWords {
  const commandLine = files?.commandLine ?? '';
  const broker = parseAgentKernelParameters(commandLine).keyBroker?.address;
  if (broker === undefined)
    throw new InvalidArgumentError('agent.aa_kbc_params', 'the measured command line names no key broker');
  return { commandLine, broker };
}

/** The owner’s broker, with this machine's reports as evidence; where the story is told, it tells of them. */
export function brokerOf(
  { attestation }: BootedGuest,
  address: string,
  narrate: Narrator | undefined,
): KeyBrokerClient {
  if (attestation === undefined) throw new TypeError('the guest is none of SEV-SNP');
  return connectKeyBroker({
    address,
    device: narrate === undefined ? attestation : narratedDevice(attestation, narrate),
    now: () => performance.now(),
    pause: (milliseconds) => new Promise((resolve) => void setTimeout(resolve, milliseconds)),
  });
}

function narratedDevice(device: AttestationDevice, narrate: Narrator): Pick<AttestationDevice, 'report'> {
  return {
    async report(request) {
      await narrate.step('guest', 'asks the processor for a report over its own key and the broker’s nonce');
      const answer = await device.report(request);
      const { measurement } = parseSnpReport(answer.report);
      await narrate.sight('launch digest', 'guest', `in its report: ${toHex(measurement)}`);
      await narrate.message(
        'guest',
        'owner',
        'report; certificates and public key go with it',
        answer.report,
      );
      return answer;
    },
  };
}

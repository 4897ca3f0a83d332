import { createSoftwareMachine, manufactureChip, type SoftwareMachine } from '@vouchsafe/firmware';
import { type AttestationDevice, buildGuestFirmware, guestFirmwareProgram } from '@vouchsafe/guest';
import { softwareLauncher } from '@vouchsafe/host';
import { systemRandom, vcpuSignatureOf } from '@vouchsafe/sev';

/** What a benchmark launches: the project's firmware alone, with as little memory as it runs in. */
export const snpConfiguration = {
  mode: 'snp',
  policy: 0x30000n,
  firmware: buildGuestFirmware(),
  vcpus: 1,
  vcpuSignature: vcpuSignatureOf('EPYC-Milan'),
  memory: 2 * 2 ** 20,
} as const;

/** A machine of a new chip of Milan. */
export function snpMachine(memory: number): SoftwareMachine {
  const chip = manufactureChip({ random: systemRandom, generation: 'milan' });
  return createSoftwareMachine({ chip, random: systemRandom, memory });
}

/** A guest that runs, and lends out its attestation device until it is closed. */
export async function snpGuest(): Promise<{ readonly device: AttestationDevice; close(): Promise<void> }> {
  const machine = snpMachine(16 * 2 ** 20);
  let lend: (device: AttestationDevice) => void;
  const lent = new Promise<AttestationDevice>((resolve) => {
    lend = resolve;
  });
  const program = guestFirmwareProgram({
    async init({ attestation }) {
      if (attestation !== undefined) lend(attestation);
      // Until the machine is closed.
      await new Promise(() => undefined);
    },
  });
  machine.insertGuest(program);
  const guest = await softwareLauncher(machine.host).launchSnp(snpConfiguration);
  await guest.resume();
  return {
    device: await lent,
    async close() {
      await guest.quit();
      await machine.close();
    },
  };
}

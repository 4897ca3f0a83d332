import { chipEndorsementRequest, createSoftwareMachine, manufactureChip } from '@vouchsafe/firmware';
import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { openDevelopmentAuthority } from '@vouchsafe/kds';
import { type Generation, launchStartBuffer, systemRandom } from '@vouchsafe/sev';
import { onTestFinished } from 'vitest';
import { testAuthorityKeys } from '../../../kds/src/testing/authority-keys.js';
import { temporaryFolder } from '../../../kds/src/testing/temporary.js';
import { withMailbox } from '../platform/mailbox.js';

/** A new software machine of a generation whose chip a development authority has endorsed; gone when the test is over. */
export async function softwareHost(generation: Generation = 'milan', memory = 8 * 1024 * 1024) {
  const authority = await openDevelopmentAuthority({
    folder: temporaryFolder(),
    generation,
    generateKeys: testAuthorityKeys,
  });
  const chip = manufactureChip({ random: systemRandom, generation });
  const { chipId, unsignedCek } = chipEndorsementRequest(chip);
  const cek = await authority.endorse(chipId, unsignedCek);
  const machine = createSoftwareMachine({ chip, random: systemRandom, memory });
  onTestFinished(() => machine.close());
  return { machine: machine.host, authority, chip, chipId, cek };
}

/** Starts a guest without an owner's session, which is enough to make the platform WORKING. */
export async function startGuest(machine: HostMachine): Promise<void> {
  await withMailbox(
    machine,
    async ({ run }) => void (await run('LAUNCH_START', launchStartBuffer.build({ policy: 0 }))),
  );
}

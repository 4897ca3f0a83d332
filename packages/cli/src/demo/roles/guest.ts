import { connectGuest } from '@vouchsafe/firmware';
import { guestFirmwareProgram, unlockDiskInit, unlockVolume } from '@vouchsafe/guest';
import { digest, openSecret, toHex } from '@vouchsafe/sev';
import { playRole } from '../role-process.js';

/** What runs inside the confidential machine: the project's firmware, and an init that unlocks the owner's disk. */
export interface GuestSettings {
  readonly socket: string;
  readonly volume: string;
}

playRole<GuestSettings>(async ({ settings: { socket, volume }, narrate, ready }) => {
  const told: Promise<void>[] = [];
  const program = guestFirmwareProgram({
    init: unlockDiskInit({
      async onKey(key) {
        await narrate.step(
          'guest',
          'found the secret table in its memory, took the disk key out and wiped it there',
        );
        const sum = toHex(await digest('sha256', openSecret(key))).slice(0, 16);
        await narrate.sight('disk key', 'guest', `plain text, ${key.length} bytes, sha256 ${sum}…`);
      },
      async unlock(key) {
        const unlocked = await unlockVolume({ volume, key });
        const what = unlocked.kind === 'luks2' ? 'LUKS2 volume' : 'stand-in volume';
        await narrate.step('guest', `the ${what} is unlocked`, 'accepted');
        await narrate.sight('disk', 'guest', `unlocked ${what}`);
        return `disk unlocked: ${what}`;
      },
    }),
    onFailure(error) {
      told.push(narrate.step('guest', `gives up: ${error.message}`, 'refused'));
    },
  });
  const attached = await connectGuest(socket, program);
  ready();
  await attached.ended;
  await Promise.all(told);
});

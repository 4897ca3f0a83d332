import { AttestationRefusedError, ReleaseRefusedError, unlockVolume } from '@vouchsafe/guest';
import { digest, openSecret, toHex } from '@vouchsafe/sev';
import { attachMachines, brokerOf, ownersWords } from '../../brokered/booted.js';
import { playRole } from '../../role-process.js';
import { diskKeyPath } from '../disk-key.js';

/** The initrd of a machine whose root is encrypted: it attests, asks for the key of its disk, and unlocks it. */
export interface GuestSettings {
  readonly socket: string;
  readonly volume: string;
}

/** What the broker says to a machine that it does not know; undefined where the disk is unlocked. */
export interface GuestEnd {
  readonly refused?: string;
}

playRole<GuestSettings>(({ settings: { socket, volume }, narrate, ready }) => {
  return new Promise<GuestEnd>((resolve, reject) => {
    attachMachines(socket, reject, async (guest) => {
      const broker = brokerOf(guest, ownersWords(guest).broker, narrate);
      try {
        const key = await broker.getResource(diskKeyPath);
        const sum = toHex(await digest('sha256', openSecret(key))).slice(0, 16);
        await narrate.sight('disk key', 'guest', `plain text, ${key.length} bytes, sha256 ${sum}…`);
        const { kind } = await unlockVolume({ volume, key });
        const what = kind === 'luks2' ? 'LUKS2 volume' : 'stand-in volume';
        await narrate.step('guest', `the ${what} is unlocked`, 'accepted');
        await narrate.sight('disk', 'guest', `unlocked ${what}`);
        await guest.print(`disk unlocked: ${what}`);
        resolve({});
      } catch (error) {
        if (!(error instanceof ReleaseRefusedError || error instanceof AttestationRefusedError)) throw error;
        await narrate.step('owner', `the broker gives this machine no key: ${error.code}`, 'refused');
        await guest.print('the disk stays locked');
        resolve({ refused: error.code });
      }
    }).then(() => ready(), reject);
  });
});

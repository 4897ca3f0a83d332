import { setTimeout as wait } from 'node:timers/promises';
import { connectGuest } from '@vouchsafe/firmware';
import {
  type BootedGuest,
  connectKeyBroker,
  guestFirmwareProgram,
  ReleaseRefusedError,
} from '@vouchsafe/guest';
import { parseResourcePath } from '@vouchsafe/protocol';
import { digest, openSecret, toHex, UnavailableError } from '@vouchsafe/sev';
import type { Narrator } from '../../narration.js';
import { playRole } from '../../role-process.js';
import { resource } from '../story-facts.js';

/** What runs inside the confidential machine: it asks its owner's key broker for its disk key. */
export interface GuestSettings {
  readonly socket: string;
  /** Where the host's network takes its questions to the broker. */
  readonly broker: string;
}

/** What it came to: the secret, or the number under which the broker can explain why not. */
export type GuestEnding = { readonly released: true } | { readonly released: false; readonly number: string };

playRole<GuestSettings>(({ settings, narrate, ready, undoLater }) => {
  return new Promise<GuestEnding>((resolve, reject) => {
    const program = guestFirmwareProgram({
      async init(guest) {
        const ending = await ask(guest, settings, narrate);
        await guest.print(ending.released ? 'got my disk key' : `refused, number ${ending.number}`);
        resolve(ending);
      },
      onFailure: reject,
    });
    connectGuest(settings.socket, program, reject).then((connection) => {
      undoLater(() => connection.close());
      ready();
    }, reject);
  });
});

async function ask(
  { attestation }: BootedGuest,
  { broker }: GuestSettings,
  narrate: Narrator,
): Promise<GuestEnding> {
  if (attestation === undefined) throw new UnavailableError('guest', 'it is none of SEV-SNP');
  const client = connectKeyBroker({
    address: broker,
    device: attestation,
    trust: {},
    now: () => performance.now(),
    pause: (milliseconds) => wait(milliseconds),
  });
  try {
    const secret = await client.getResource(parseResourcePath(resource));
    const sum = toHex(await digest('sha256', openSecret(secret))).slice(0, 16);
    await narrate.sight('disk key', 'guest', `plain text, ${secret.length} bytes, sha256 ${sum}…`);
    await narrate.step('guest', 'opens the answer with its own key: the disk key', 'accepted');
    secret.zero();
    return { released: true };
  } catch (error) {
    if (!(error instanceof ReleaseRefusedError)) throw error;
    const number = /\d{4}(?:-\d{4}){3}/.exec(error.message)?.[0];
    if (number === undefined) throw error;
    await narrate.sight('the reason of the denial', 'guest', `number ${number}, and nothing else`);
    return { released: false, number };
  }
}

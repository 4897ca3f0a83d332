import { digest, type Secret, SecretTableAbsentError, toHex, wellKnownSecretGuids } from '@vouchsafe/sev';
import { WrongDiskKeyError } from '../disk/luks.js';
import { takeSecret } from '../secrets/secret-store.js';
import type { BootedGuest, GuestInit } from './program.js';

export interface UnlockDiskOptions {
  /** Unlocks the volume; what it resolves to is printed: `LUKS volume unlocked`. */
  readonly unlock: (key: Secret) => Promise<string>;
  /** Sees the key in the guest, for a demo that proves what arrived. It is zeroed afterwards. */
  readonly onKey?: (key: Secret) => Promise<void> | void;
}

/** An init program that takes the disk key out of the secret table, wipes it there, and unlocks the volume with it. */
export function unlockDiskInit({ unlock, onKey = () => undefined }: UnlockDiskOptions): GuestInit {
  return async (guest) => {
    await announceFiles(guest);
    const key = await takeDiskKey(guest);
    if (key === undefined) {
      await guest.print('no disk key was injected: the volume stays locked');
      return;
    }
    try {
      await onKey(key);
      await guest.print(await unlock(key));
    } catch (error) {
      if (!(error instanceof WrongDiskKeyError)) throw error;
      await guest.print('the injected key does not unlock the volume');
    } finally {
      key.zero();
    }
  };
}

async function announceFiles({ files, print }: BootedGuest): Promise<void> {
  if (files === undefined) return;
  const { kernel, initrd, commandLine } = files;
  const short = async (bytes: Uint8Array) =>
    `${bytes.length} bytes, SHA-256 ${toHex(await digest('sha256', bytes)).slice(0, 16)}…`;
  await print(`kernel as measured: ${await short(kernel)}`);
  await print(`initrd as measured: ${await short(initrd)}`);
  await print(`command line as measured: ${commandLine}`);
}

async function takeDiskKey(guest: BootedGuest): Promise<Secret | undefined> {
  try {
    const secrets = await guest.openSecrets();
    const guid = wellKnownSecretGuids.luksKey;
    return (await secrets.list()).includes(guid) ? await takeSecret(secrets, guid) : undefined;
  } catch (error) {
    if (error instanceof SecretTableAbsentError) return undefined;
    throw error;
  }
}

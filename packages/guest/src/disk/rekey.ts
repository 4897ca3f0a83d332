import { stat } from 'node:fs/promises';
import { InvalidArgumentError, requireAccepted, type Secret, UnavailableError } from '@vouchsafe/sev';
import type { BoundVolume } from './create.js';
import { copyLuksHeader } from './header-copy.js';
import { derivation, runLuks, testLuksKey, WrongDiskKeyError } from './luks.js';

export interface RekeyVolumeOptions {
  readonly volume: string;
  /** The pass-phrase so far. */
  readonly key: Secret;
  readonly newKey: Secret;
  /** Rounds of PBKDF2 for the new one. */
  readonly rounds: number;
  /**
   * Encrypts all data anew under another volume key. Without it the volume key stays: whoever has a copy of the old
   * header and the old key can read on. The volume must not be in use.
   */
  readonly volumeKey?: boolean | undefined;
  /** 32 bytes; what the volume must be bound to before. */
  readonly binding?: Uint8Array | undefined;
  readonly cryptsetup?: string | undefined;
}

/**
 * Replaces the pass-phrase of a LUKS2 volume, and makes sure that the new one opens it and the old one no longer does.
 * @returns the binding from now on: another one with `volumeKey`, else the same
 * @throws RefusedError, WrongDiskKeyError before anything is written; UnavailableError
 */
export async function rekeyVolume(options: RekeyVolumeOptions): Promise<BoundVolume> {
  const { volume, key, newKey, rounds, volumeKey = false, binding, cryptsetup } = options;
  if (newKey.length < 16) throw new InvalidArgumentError('new key', 'expected at least 16 bytes');
  const program = cryptsetup === undefined ? {} : { cryptsetup };
  await inspect(volume, program, binding);
  await testLuksKey({ volume, key, ...program });
  // Both keys come over one pipe: cryptsetup reads as many bytes of each as it is told.
  await runLuks(
    { volume, key, ...program },
    [
      ...['luksChangeKey', '--batch-mode', '--type', 'luks2', ...derivation(rounds)],
      ...['--key-file', '-', '--keyfile-size', String(key.length)],
      ...['--new-keyfile-size', String(newKey.length), volume, '-'],
    ],
    [newKey],
  );
  if (volumeKey) {
    const offline = (await stat(volume)).isFile() ? ['--force-offline-reencrypt'] : [];
    await runLuks({ volume, key: newKey, ...program }, [
      ...['reencrypt', '--batch-mode', '--type', 'luks2', ...offline, ...derivation(rounds)],
      ...['--key-file', '-', volume],
    ]);
  }
  await testLuksKey({ volume, key: newKey, ...program });
  await requireWrong({ volume, key, ...program });
  return { binding: await inspect(volume, program, volumeKey ? undefined : binding) };
}

async function inspect(
  volume: string,
  program: { readonly cryptsetup?: string },
  binding: Uint8Array | undefined,
): Promise<Uint8Array> {
  const header = await copyLuksHeader({ volume, binding, ...program });
  try {
    requireAccepted(header.appraisal);
    return header.binding;
  } finally {
    await header.remove();
  }
}

async function requireWrong(options: Parameters<typeof testLuksKey>[0]): Promise<void> {
  try {
    await testLuksKey(options);
  } catch (error) {
    if (error instanceof WrongDiskKeyError) return;
    throw error;
  }
  throw new UnavailableError('volume', `${options.volume} still opens with the old key`, {
    hint: 'another key slot has the same pass-phrase: remove it with cryptsetup luksRemoveKey',
  });
}

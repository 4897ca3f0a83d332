import { openSecret, type RandomSource, Secret } from '@vouchsafe/sev';
import type { AttestationDevice, DerivedKeyRequest } from '../attestation/attestation-device.js';
import { createVolume } from '../disk/create.js';
import { roundsForRandomKeys } from '../disk/luks.js';
import { type UnlockedVolume, type UnlockOptions, unlockVolume } from '../disk/unlock.js';
import { seal, unseal } from './seal.js';

export interface SealedVolumeOptions {
  readonly device: AttestationDevice;
  /** What the key is to depend on; as for `seal`. */
  readonly request: DerivedKeyRequest;
  /** Path of a block device or image file: all that was in it is lost. */
  readonly volume: string;
  readonly random: RandomSource;
  readonly cryptsetup?: string;
}

const keyLength = 32;

/**
 * Makes a LUKS2 volume whose pass-phrase is random and sealed to a derived key. The volume's key slot never sees the
 * derived key itself, so that it can be sealed anew, for a new TCB version say, without a change to the volume.
 * @returns the sealed key, to be kept beside the volume
 * @throws as `seal` and `createVolume` do
 */
export async function formatSealedVolume(options: SealedVolumeOptions): Promise<Uint8Array> {
  const { device, request, volume, random, cryptsetup } = options;
  const key = Secret.take(random(keyLength));
  try {
    const sealed = await seal({ device, request, content: openSecret(key), random });
    await createVolume({ volume, key, rounds: roundsForRandomKeys, cryptsetup });
    return sealed;
  } finally {
    key.zero();
  }
}

/**
 * Unlocks a volume with its sealed key, as `unlockVolume` does.
 * @throws as `unseal` and `unlockVolume` do
 */
export async function unlockSealedVolume(
  device: AttestationDevice,
  sealedKey: Uint8Array,
  options: Omit<UnlockOptions, 'key'>,
): Promise<UnlockedVolume> {
  const key = await unseal(device, sealedKey, `key of ${options.volume}`);
  try {
    return await unlockVolume({ ...options, key });
  } finally {
    key.zero();
  }
}

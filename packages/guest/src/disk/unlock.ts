import { open } from 'node:fs/promises';
import { MalformedError, type Secret, UnavailableError } from '@vouchsafe/sev';
import { openLuks, testLuksKey } from './luks.js';
import { isStandInVolume, openStandInVolume } from './stand-in.js';

export interface UnlockOptions {
  /** Path of a block device or image file. */
  readonly volume: string;
  readonly key: Secret;
  /** LUKS: maps the volume as `/dev/mapper/NAME`. Without it the key is tried and nothing is mapped. */
  readonly name?: string;
  readonly cryptsetup?: string;
}

export type UnlockedVolume =
  | { readonly kind: 'luks2' /** Where its plain text is, if it was mapped. */; readonly mapped?: string }
  /** Not a disk: see `stand-in.ts`. */
  | { readonly kind: 'stand-in'; readonly content: Uint8Array };

const luksMagic = Uint8Array.of(0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe);
const largestStandIn = 1024 * 1024;

/**
 * Unlocks a volume with the disk key, whichever of the two kinds it is.
 * @throws WrongDiskKeyError when the key is not the volume's
 * @throws MalformedError when it is neither a LUKS volume nor a stand-in
 * @throws UnavailableError when it cannot be read, or cryptsetup is missing
 */
export async function unlockVolume({
  volume,
  key,
  name,
  cryptsetup,
}: UnlockOptions): Promise<UnlockedVolume> {
  const beginning = await read(volume, largestStandIn + 1);
  if (isStandInVolume(beginning)) {
    if (beginning.length > largestStandIn)
      throw new UnavailableError('volume', `${volume} is too large for a stand-in`);
    return { kind: 'stand-in', content: openStandInVolume(beginning, key, volume) };
  }
  if (!luksMagic.every((byte, i) => beginning[i] === byte)) {
    const found = 'neither';
    throw new MalformedError({
      structure: volume,
      field: 'magic',
      offset: 0,
      expected: 'a LUKS volume or a stand-in',
      found,
    });
  }
  const options = { volume, key, ...(cryptsetup === undefined ? {} : { cryptsetup }) };
  if (name === undefined) {
    await testLuksKey(options);
    return { kind: 'luks2' };
  }
  await openLuks({ ...options, name });
  return { kind: 'luks2', mapped: `/dev/mapper/${name}` };
}

async function read(path: string, most: number): Promise<Uint8Array> {
  try {
    const file = await open(path, 'r');
    try {
      const { buffer, bytesRead } = await file.read(new Uint8Array(most), 0, most, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new UnavailableError('volume', `${path} cannot be read`, { cause });
  }
}

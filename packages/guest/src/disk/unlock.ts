import { open } from 'node:fs/promises';
import { MalformedError, requireAccepted, type Secret, UnavailableError } from '@vouchsafe/sev';
import { copyLuksHeader } from './header-copy.js';
import { openLuks, testLuksKey } from './luks.js';
import { isStandInVolume, openStandInVolume } from './stand-in.js';

export interface UnlockOptions {
  /** Path of a block device or image file. */
  readonly volume: string;
  readonly key: Secret;
  /** LUKS: maps the volume as `/dev/mapper/NAME`. Without it the key is tried and nothing is mapped. */
  readonly name?: string;
  /** LUKS: what the volume must be bound to, 32 bytes, as `createVolume` gave it. */
  readonly binding?: Uint8Array | undefined;
  readonly cryptsetup?: string;
}

export interface UnlockedLuks {
  readonly kind: 'luks2';
  /** Where its plain text is, if it was mapped. */
  readonly mapped?: string;
  /** 32 bytes: what to expect of this volume from now on. */
  readonly binding: Uint8Array;
}

export type UnlockedVolume =
  | UnlockedLuks
  /** Not a disk: see `stand-in.ts`. */
  | { readonly kind: 'stand-in'; readonly content: Uint8Array };

const luksMagic = Uint8Array.of(0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe);
/** Whether a file begins as a LUKS volume does. */
export function isLuksVolume(bytes: Uint8Array): boolean {
  return luksMagic.every((byte, i) => bytes[i] === byte);
}

const largestStandIn = 1024 * 1024;

/**
 * Unlocks a volume with the disk key, whichever of the two kinds it is.
 * @throws MalformedError when it is neither a LUKS volume nor a stand-in; else as `unlockLuks`
 */
export async function unlockVolume(options: UnlockOptions): Promise<UnlockedVolume> {
  const { volume, key } = options;
  const beginning = await read(volume, largestStandIn + 1);
  if (isStandInVolume(beginning)) {
    if (beginning.length > largestStandIn)
      throw new UnavailableError('volume', `${volume} is too large for a stand-in`);
    return { kind: 'stand-in', content: openStandInVolume(beginning, key, volume) };
  }
  if (!isLuksVolume(beginning)) {
    const found = 'neither';
    throw new MalformedError({
      structure: volume,
      field: 'magic',
      offset: 0,
      expected: 'a LUKS volume or a stand-in',
      found,
    });
  }
  return unlockLuks(options);
}

/**
 * Unlocks a LUKS2 volume. Its header is copied into memory once; the key is tried on the copy, after the copy was appraised.
 * @throws RefusedError when the header would let a host in, or is another volume's (`diskChecks`)
 * @throws WrongDiskKeyError when the key is not the volume's
 * @throws UnavailableError when it cannot be read or is no LUKS2 volume, or cryptsetup is missing
 */
export async function unlockLuks({
  volume,
  key,
  name,
  binding,
  cryptsetup,
}: UnlockOptions): Promise<UnlockedLuks> {
  const program = cryptsetup === undefined ? {} : { cryptsetup };
  const header = await copyLuksHeader({ volume, binding, ...program });
  try {
    requireAccepted(header.appraisal);
    if (name === undefined) {
      await testLuksKey({ volume: header.path, shownAs: volume, key, ...program });
      return { kind: 'luks2', binding: header.binding };
    }
    await openLuks({ volume, key, name, header: header.path, ...program });
    return { kind: 'luks2', mapped: `/dev/mapper/${name}`, binding: header.binding };
  } finally {
    await header.remove();
  }
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

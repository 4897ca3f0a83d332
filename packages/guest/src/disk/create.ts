import { open } from 'node:fs/promises';
import { InvalidArgumentError, requireAccepted, type Secret, UnavailableError } from '@vouchsafe/sev';
import { copyLuksHeader, luksHeaderSize } from './header-copy.js';
import { derivation, runLuks } from './luks.js';

export interface CreateVolumeOptions {
  /** An existing block device or image file: all that is in it is lost. */
  readonly volume: string;
  /** Pass-phrase of the first key slot. */
  readonly key: Secret;
  /** Rounds of PBKDF2: `roundsForRandomKeys` for a random key, many more for anything that could be guessed. */
  readonly rounds: number;
  /** Label in the header, which anybody can read. */
  readonly label?: string | undefined;
  /** The volume holds a plain image, which is encrypted where it is: see {@link imageRoom}. */
  readonly keepContent?: boolean | undefined;
  readonly cryptsetup?: string | undefined;
}

export interface BoundVolume {
  /** 32 bytes: what tells this volume from every other that its key may open. It is no secret. */
  readonly binding: Uint8Array;
}

/**
 * Makes a LUKS2 volume: AES-256-XTS, sectors of 4096 bytes, PBKDF2 with SHA-256.
 * @throws InvalidArgumentError for a key shorter than 16 bytes; UnavailableError
 */
export async function createVolume(options: CreateVolumeOptions): Promise<BoundVolume> {
  const { volume, key, rounds, label, keepContent = false, cryptsetup } = options;
  if (key.length < 16) throw new InvalidArgumentError('key', 'expected at least 16 bytes');
  if (label !== undefined && !/^[A-Za-z0-9._-]{1,47}$/.test(label))
    throw new InvalidArgumentError(
      'label',
      'expected 1 to 47 letters, digits, dots, hyphens and underscores',
    );
  const program = cryptsetup === undefined ? {} : { cryptsetup };
  await runLuks({ volume, key, ...program }, [
    ...(keepContent ? encryptInPlace : format),
    ...['--batch-mode', '--cipher', 'aes-xts-plain64', '--key-size', '512', '--hash', 'sha256'],
    ...derivation(rounds),
    ...(label === undefined ? [] : ['--label', label]),
    ...['--key-file', '-', volume],
  ]);
  const header = await copyLuksHeader({ volume, ...program });
  try {
    requireAccepted(header.appraisal);
    return { binding: header.binding };
  } finally {
    await header.remove();
  }
}

/** Sectors of 4096 bytes are quicker; a file system that is there already may want smaller ones. */
const format = ['luksFormat', '--type', 'luks2', '--sector-size', '4096'];
const encryptInPlace = [
  ...['reencrypt', '--encrypt', '--type', 'luks2', '--sector-size', '512'],
  ...['--force-offline-reencrypt', '--reduce-device-size', '32M'],
];

/** Bytes that must be free behind a plain image that is to be encrypted in place: its header, and room to move in. */
export const imageRoom = 2 * luksHeaderSize;

/** Least size of a volume: its header and a little data. */
export const leastVolumeSize = luksHeaderSize + 1024 * 1024;

/**
 * Makes the image file that a volume is created in: sparse, and only where there is no such file.
 * @throws InvalidArgumentError for a size that holds no volume; UnavailableError when it exists already
 */
export async function createImage(path: string, size: number): Promise<void> {
  if (size < leastVolumeSize || size % 4096 !== 0) {
    throw new InvalidArgumentError(
      'size',
      `expected at least ${leastVolumeSize} bytes and a multiple of 4096, found ${size}`,
    );
  }
  try {
    const file = await open(path, 'wx', 0o600);
    await file.truncate(size).finally(() => file.close());
  } catch (cause) {
    throw new UnavailableError('image', `${path} cannot be made, or is there already`, { cause });
  }
}

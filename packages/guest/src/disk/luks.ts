import { InvalidArgumentError, type Secret, UnavailableError, VouchsafeError } from '@vouchsafe/sev';
import { spawnCryptsetup } from './cryptsetup.js';

/** The volume is sound and the key is not its key. */
export class WrongDiskKeyError extends VouchsafeError {
  readonly code = 'wrong-disk-key';

  constructor(volume: string) {
    super(`${volume}: the key does not unlock it`, {
      hint: 'check that the secret that was injected or released is the pass-phrase of one of the volume’s key slots',
    });
  }
}

export interface LuksOptions {
  /** Path of the block device or image file. */
  readonly volume: string;
  /** Pass-phrase of a key slot, byte for byte: no newline is added or taken away. */
  readonly key: Secret;
  /** What errors call the volume, where its path says little. */
  readonly shownAs?: string;
  /** Name or path of the program; `cryptsetup`. */
  readonly cryptsetup?: string;
}

/**
 * Whether the key unlocks the LUKS2 volume (`cryptsetup open --test-passphrase`). Needs neither root nor device-mapper.
 * @throws WrongDiskKeyError when it does not
 * @throws UnavailableError when cryptsetup is missing or the volume is none
 */
export async function testLuksKey(options: LuksOptions): Promise<void> {
  await runLuks(options, ['open', '--type', 'luks2', '--test-passphrase', '--key-file', '-', options.volume]);
}

export interface OpenLuksOptions extends LuksOptions {
  /** Of the mapping: letters, digits, dots, hyphens and underscores. */
  readonly name: string;
  /** A copy of the volume's header, to be used in place of the one on it. */
  readonly header?: string;
}

/**
 * Unlocks the LUKS2 volume as `/dev/mapper/NAME`. Needs root and device-mapper.
 * @throws WrongDiskKeyError; UnavailableError
 */
export async function openLuks(options: OpenLuksOptions): Promise<void> {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(options.name)) {
    throw new InvalidArgumentError('name', 'expected letters, digits, dots, hyphens and underscores');
  }
  const header = options.header === undefined ? [] : ['--header', options.header];
  await runLuks(options, [
    ...['open', '--type', 'luks2', '--key-file', '-', ...header],
    ...[options.volume, options.name],
  ]);
}

/** Rounds of PBKDF2 for keys that are random: nobody guesses 16 random bytes, however quick a guess is. */
export const roundsForRandomKeys = 1000;

/** Arguments that set the key derivation: the default one wants a gigabyte of memory, which an initrd may not have. */
export const derivation = (rounds: number) => [
  ...['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', String(rounds)],
];

/**
 * Makes a LUKS2 volume in an existing file, for demos and tests: all that was in it is lost. Its key derivation is weak
 * on purpose (PBKDF2, 1000 rounds), which suits random keys and no others.
 * @throws InvalidArgumentError for a key shorter than 16 bytes; UnavailableError
 */
export async function formatDemoLuks(options: LuksOptions): Promise<void> {
  if (options.key.length < 16) throw new InvalidArgumentError('key', 'expected at least 16 random bytes');
  await runLuks(options, [
    ...['luksFormat', '--type', 'luks2', '--batch-mode', ...derivation(roundsForRandomKeys)],
    ...['--key-file', '-', options.volume],
  ]);
}

/**
 * Runs cryptsetup on a volume, with its key and then `more` keys on standard input.
 * @throws WrongDiskKeyError; UnavailableError for every other status but 0
 */
export async function runLuks(
  { volume, key, shownAs = volume, cryptsetup = 'cryptsetup' }: LuksOptions,
  args: readonly string[],
  more: readonly Secret[] = [],
): Promise<void> {
  requireVolumePath(volume);
  const { status, complaint } = await spawnCryptsetup(cryptsetup, args, [key, ...more]);
  if (status === 0) return;
  if (status === 2) throw new WrongDiskKeyError(shownAs);
  throw luksFailure(args[0] ?? '', shownAs, status, complaint.replaceAll(volume, shownAs));
}

/** @throws InvalidArgumentError for what cryptsetup would take for an option */
export function requireVolumePath(volume: string): void {
  if (volume.startsWith('-')) throw new InvalidArgumentError('volume', 'expected a path; put ./ before it');
}

export function luksFailure(
  action: string,
  volume: string,
  status: number,
  complaint: string,
): UnavailableError {
  const said = complaint === '' ? '' : ` (${complaint})`;
  return new UnavailableError(
    'cryptsetup',
    `${action} ${volume}: ${reasons[status] ?? `status ${status}`}${said}`,
    {
      hint: status === 4 ? 'name a LUKS2 volume: a block device or an image file' : undefined,
    },
  );
}

/** Exit statuses of cryptsetup(8). */
const reasons: Readonly<Record<number, string>> = {
  1: 'its parameters are wrong',
  3: 'it ran out of memory',
  4: 'there is no such device or it is not a LUKS2 volume',
  5: 'the device exists already or is busy',
};

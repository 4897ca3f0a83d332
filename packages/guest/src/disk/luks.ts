import { spawn } from 'node:child_process';
import {
  InvalidArgumentError,
  openSecret,
  type Secret,
  UnavailableError,
  VouchsafeError,
} from '@vouchsafe/sev';

/** The volume is sound and the key is not its key. */
export class WrongDiskKeyError extends VouchsafeError {
  readonly code = 'wrong-disk-key';

  constructor(volume: string) {
    super(`${volume}: the key does not unlock it`, {
      hint: 'check that the secret injected under the disk key’s GUID is the pass-phrase of one of the volume’s key slots',
    });
  }
}

export interface LuksOptions {
  /** Path of the block device or image file. */
  readonly volume: string;
  /** Pass-phrase of a key slot, byte for byte: no newline is added or taken away. */
  readonly key: Secret;
  /** Name or path of the program; `cryptsetup`. */
  readonly cryptsetup?: string;
}

/**
 * Whether the key unlocks the LUKS2 volume (`cryptsetup open --test-passphrase`). Needs neither root nor device-mapper.
 * @throws WrongDiskKeyError when it does not
 * @throws UnavailableError when cryptsetup is missing or the volume is none
 */
export async function testLuksKey(options: LuksOptions): Promise<void> {
  await run(options, ['open', '--type', 'luks2', '--test-passphrase', '--key-file', '-', options.volume]);
}

/**
 * Unlocks the LUKS2 volume as `/dev/mapper/NAME`. Needs root and device-mapper.
 * @throws WrongDiskKeyError; UnavailableError
 */
export async function openLuks(options: LuksOptions & { readonly name: string }): Promise<void> {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(options.name)) {
    throw new InvalidArgumentError('name', 'expected letters, digits, dots, hyphens and underscores');
  }
  await run(options, ['open', '--type', 'luks2', '--key-file', '-', options.volume, options.name]);
}

/**
 * Makes a LUKS2 volume in an existing file, for demos and tests: all that was in it is lost. Its key derivation is weak
 * on purpose (PBKDF2, 1000 rounds), which suits random keys and no others.
 * @throws InvalidArgumentError for a key shorter than 16 bytes; UnavailableError
 */
export async function formatDemoLuks(options: LuksOptions): Promise<void> {
  if (options.key.length < 16) throw new InvalidArgumentError('key', 'expected at least 16 random bytes');
  const weak = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'];
  await run(options, [
    'luksFormat',
    '--type',
    'luks2',
    '--batch-mode',
    ...weak,
    '--key-file',
    '-',
    options.volume,
  ]);
}

/** Whether cryptsetup can be run here. */
export async function hasCryptsetup(cryptsetup = 'cryptsetup'): Promise<boolean> {
  try {
    return (await spawned(cryptsetup, ['--version'])).status === 0;
  } catch (error) {
    if (error instanceof UnavailableError) return false;
    throw error;
  }
}

/** The key goes over a pipe: an argument could be read by every process, and a file would outlive us. */
async function run(
  { volume, key, cryptsetup = 'cryptsetup' }: LuksOptions,
  args: readonly string[],
): Promise<void> {
  if (volume.startsWith('-')) throw new InvalidArgumentError('volume', 'expected a path; put ./ before it');
  const { status, message } = await spawned(cryptsetup, args, openSecret(key));
  if (status === 0) return;
  if (status === 2) throw new WrongDiskKeyError(volume);
  throw new UnavailableError(
    'cryptsetup',
    `${args[0]} ${volume}: ${reasons[status] ?? `status ${status}`}${message}`,
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

function spawned(program: string, args: readonly string[], input?: Uint8Array) {
  return new Promise<{ status: number; message: string }>((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['pipe', 'ignore', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    const complaints: Buffer[] = [];
    let length = 0;
    child.stderr.on('data', (part: Buffer) => {
      length += part.length;
      if (length <= 4096) complaints.push(part);
    });
    child.on('error', (cause: NodeJS.ErrnoException) => {
      const problem =
        cause.code === 'ENOENT' ? 'the program is not installed' : `cannot be run: ${cause.message}`;
      const hint = cause.code === 'ENOENT' ? 'install the package cryptsetup-bin' : undefined;
      reject(new UnavailableError(program, problem, { cause, hint }));
    });
    child.on('close', (status) => {
      const said = Buffer.concat(complaints)
        .toString('utf8')
        .replace(/\p{Cc}+/gu, ' ')
        .trim();
      resolve({ status: status ?? -1, message: said === '' ? '' : ` (${said})` });
    });
    // A program that ends before it has read its key closes the pipe; its status says why.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input ?? new Uint8Array());
  });
}

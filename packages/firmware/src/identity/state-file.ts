import { chmod, mkdir, open, readFile, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import {
  fromBase64,
  fromHex,
  type Generation,
  generations,
  InvalidArgumentError,
  MalformedError,
  openSecret,
  persistentStoreSize,
  type RandomSource,
  Secret,
  toBase64,
  toHex,
  UnavailableError,
} from '@vouchsafe/sev';
import { type Chip, createFlash, erasedCommitted, manufactureChip } from './chip.js';

/**
 * A software chip as a file, mode 0600 in a folder of mode 0700: who reads it is the chip. Every change of the flash is
 * written to a new file that then takes the old one's place, so that a crash leaves one or the other.
 */
interface StateFile {
  readonly format: typeof formatName;
  readonly generation: Generation;
  readonly secret: string;
  readonly flash: string;
  readonly committed: string;
}

const formatName = 'vouchsafe software chip 2';
const members = ['format', 'generation', 'secret', 'flash', 'committed'];
/** Of machines without SEV-SNP: nothing was ever committed. */
const olderFormatName = 'vouchsafe software chip 1';

export interface ChipFileOptions {
  readonly random: RandomSource;
  /** Of a chip that is made now; one that exists must be of it. */
  readonly generation?: Generation;
}

/**
 * The chip of this file, manufactured now if the file does not exist.
 * @throws InvalidArgumentError when the file exists and others than its owner may use it, or it is of another generation
 * @throws MalformedError when it is not a chip
 * @throws UnavailableError when it cannot be read or written
 */
export async function openChipFile(path: string, options: ChipFileOptions): Promise<Chip> {
  const existing = await loadChipFile(path);
  if (existing !== undefined) {
    const wanted = options.generation;
    if (wanted !== undefined && wanted !== existing.generation) {
      throw new InvalidArgumentError(path, `holds a ${existing.generation} chip, not a ${wanted} one`);
    }
    return existing;
  }
  const made = manufactureChip(options);
  const chip = lasting(path, made, made.flash.read(), made.committed.read());
  await chip.flash.write(made.flash.read());
  return chip;
}

/** The chip of this file; undefined where there is none. Throws as {@link openChipFile}. */
export async function loadChipFile(path: string): Promise<Chip | undefined> {
  const text = await readPrivate(path);
  if (text === undefined) return undefined;
  const state = parseState(path, text);
  const secret = Secret.take(fromHex(state.secret));
  const kept = { generation: state.generation, secret };
  return lasting(path, kept, fromBase64(state.flash), fromHex(state.committed));
}

function lasting(
  path: string,
  { generation, secret }: Pick<Chip, 'generation' | 'secret'>,
  store: Uint8Array,
  floor: Uint8Array,
): Chip {
  const save = (contents: { readonly flash: Uint8Array; readonly committed: Uint8Array }) => {
    const state: StateFile = {
      format: formatName,
      generation,
      secret: toHex(openSecret(secret)),
      flash: toBase64(contents.flash),
      committed: toHex(contents.committed),
    };
    return writePrivate(path, `${JSON.stringify(state)}\n`);
  };
  const flash = createFlash(store, (changed) => save({ flash: changed, committed: committed.read() }));
  const committed = createFlash(floor, (changed) => save({ flash: flash.read(), committed: changed }));
  return { generation, secret, flash, committed };
}

function parseState(path: string, text: string): StateFile {
  const malformed = (field: string, expected: string) =>
    new MalformedError({ structure: path, field, offset: 0, expected, found: 'something else' });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformed('contents', 'JSON');
  }
  if (typeof value !== 'object' || value === null) throw malformed('contents', 'an object');
  const state = currentFormat(value as Record<string, unknown>);
  if (Object.keys(state).toSorted().join() !== members.toSorted().join()) {
    throw malformed('members', members.join(', '));
  }
  const { format, generation, secret, flash, committed } = state;
  if (format !== formatName) throw malformed('format', formatName);
  if (!generations.some((name) => name === generation)) throw malformed('generation', generations.join(', '));
  if (typeof secret !== 'string' || !/^[0-9a-f]{64}$/.test(secret))
    throw malformed('secret', '64 lower-case digits');
  if (typeof flash !== 'string' || !isStore(flash))
    throw malformed('flash', `base64 of ${persistentStoreSize} bytes`);
  if (typeof committed !== 'string' || !/^[0-9a-f]{32}$/.test(committed))
    throw malformed('committed', '32 lower-case digits');
  return { format, generation: generation as Generation, secret, flash, committed };
}

function currentFormat(state: Record<string, unknown>): Record<string, unknown> {
  if (state['format'] !== olderFormatName || Object.hasOwn(state, 'committed')) return state;
  return { ...state, format: formatName, committed: toHex(erasedCommitted()) };
}

function isStore(text: string): boolean {
  try {
    return fromBase64(text).length === persistentStoreSize;
  } catch {
    return false;
  }
}

async function readPrivate(path: string): Promise<string | undefined> {
  try {
    const folder = await stat(dirname(path));
    refuseOpen(dirname(path), folder.mode, 0o022, 'chmod 700');
    const file = await stat(path);
    refuseOpen(path, file.mode, 0o077, 'chmod 600');
    return await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof InvalidArgumentError) throw cause;
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unavailable(path, 'cannot be read', cause);
  }
}

function refuseOpen(path: string, mode: number, forbidden: number, remedy: string): void {
  if ((mode & forbidden) === 0) return;
  const found = (mode & 0o777).toString(8).padStart(4, '0');
  throw new InvalidArgumentError(path, `has mode ${found}: others could take or change the chip's secrets`, {
    hint: `${remedy} ${path}, if nobody else has used it`,
  });
}

async function writePrivate(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.new`;
  try {
    const made = await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    if (made !== undefined) await chmod(dirname(path), 0o700);
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.chmod(0o600);
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (cause) {
    throw unavailable(path, 'cannot be written', cause);
  }
}

function unavailable(path: string, what: string, cause: unknown): UnavailableError {
  return new UnavailableError(path, `${what}: ${cause instanceof Error ? cause.message : String(cause)}`, {
    cause,
  });
}

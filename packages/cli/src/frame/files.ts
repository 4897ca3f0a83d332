import { randomUUID } from 'node:crypto';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fromBase64, fromHex, InvalidArgumentError, Secret, UnavailableError } from '@vouchsafe/sev';
import { collect } from './collect.js';
import type { Io } from './io.js';

/** Reading what the user names and writing what a command makes, with errors that say which file and what to do. */

/**
 * The whole file; `-` is standard input.
 * @throws UnavailableError when it cannot be read; InvalidArgumentError when it is larger than any input
 */
export async function readInput(path: string, what: string, io: Io): Promise<Uint8Array> {
  if (path === '-') return io.readStdin();
  try {
    const file = await open(path, 'r');
    try {
      // Not by the size that it reports: a device and a pipe report none, and may never end.
      return await collect(file.createReadStream({ autoClose: false, highWaterMark: pieceOfFile }), what);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw fileError(error, what, path, 'read');
  }
}

const pieceOfFile = 1024 * 1024;

export interface Encoded {
  readonly bytes: Uint8Array;
  readonly encoding: 'raw' | 'hex' | 'base64';
}

/**
 * Bytes that tools write raw, as hexadecimal or as base64. The lengths that the content can have tell them apart; raw
 * wins, because a file of exactly the right length is what it seems.
 * @throws InvalidArgumentError that names the lengths, never the content
 */
export function decodeFile(content: Uint8Array, what: string, lengths: readonly number[]): Encoded {
  const fits = (bytes: Uint8Array) => lengths.includes(bytes.length);
  if (fits(content)) return { bytes: content, encoding: 'raw' };
  const text = printableText(content);
  if (text !== undefined) {
    const hex = tryDecode(() => fromHex(text.replace(/^0x/i, '').replaceAll(/\s/g, '')));
    if (hex !== undefined && fits(hex)) return { bytes: hex, encoding: 'hex' };
    const base64 = tryDecode(() => fromBase64(text.replaceAll(/\s/g, '')));
    if (base64 !== undefined && fits(base64)) return { bytes: base64, encoding: 'base64' };
  }
  throw new InvalidArgumentError(
    what,
    `expected ${lengths.join(' or ')} bytes, raw or as hexadecimal or base64; found a file of ${content.length} bytes`,
  );
}

/** Reads a file of bytes that may be written raw, as hexadecimal or as base64. */
export async function readEncoded(
  path: string,
  what: string,
  io: Io,
  lengths: readonly number[],
): Promise<Uint8Array> {
  return decodeFile(await readInput(path, what, io), what, lengths).bytes;
}

/** Reads a key or another secret of known lengths. */
export async function readSecret(
  path: string,
  what: string,
  io: Io,
  lengths: readonly number[],
): Promise<Secret> {
  const content = await readInput(path, what, io);
  try {
    return Secret.take(decodeFile(content, what, lengths).bytes);
  } finally {
    content.fill(0);
  }
}

/**
 * A value that sevctl takes as a path or as base64: the path of an existing file, else the text itself.
 * @throws InvalidArgumentError
 */
export async function readPathOrBase64(
  given: string,
  what: string,
  io: Io,
  lengths: readonly number[],
): Promise<Uint8Array> {
  const isFile =
    given === '-' ||
    (await stat(given).then(
      (found) => found.isFile(),
      () => false,
    ));
  if (isFile) return readEncoded(given, what, io, lengths);
  return decodeFile(new TextEncoder().encode(given), what, lengths).bytes;
}

export interface OutputFile {
  readonly path: string;
  readonly bytes: Uint8Array;
  /** Mode 0600, and never written over an existing file without `overwrite`. */
  readonly secret?: boolean;
}

/**
 * Writes all of the files or, where one of the secret ones exists and `overwrite` is not given, none.
 * @throws UnavailableError
 */
export async function writeOutputs(
  files: readonly OutputFile[],
  options: { readonly overwrite: boolean },
): Promise<void> {
  if (!options.overwrite) {
    for (const { path, secret } of files) {
      if (secret === true && (await exists(path))) throw alreadyThere(path);
    }
  }
  for (const file of files) {
    try {
      await mkdir(dirname(file.path), { recursive: true });
      await writeWhole(file, file.secret !== true || options.overwrite);
    } catch (error) {
      throw isCode(error, 'EEXIST')
        ? alreadyThere(file.path)
        : fileError(error, 'output', file.path, 'write');
    }
  }
}

/** Through a file beside it, so that a reader never meets half of the content and its mode is right from the start. */
async function writeWhole(file: OutputFile, overwrite: boolean): Promise<void> {
  const mode = file.secret === true ? 0o600 : 0o644;
  const replaceable = await stat(file.path).then(
    (found) => found.isFile(),
    () => true,
  );
  if (!overwrite || !replaceable) {
    const handle = await open(file.path, overwrite ? 'w' : 'wx', mode);
    await handle.writeFile(file.bytes).finally(() => handle.close());
    return;
  }
  const beside = join(dirname(file.path), `.${basename(file.path)}.${randomUUID()}`);
  try {
    const handle = await open(beside, 'wx', mode);
    await handle.writeFile(file.bytes).finally(() => handle.close());
    await rename(beside, file.path);
  } catch (error) {
    await rm(beside, { force: true });
    throw error;
  }
}

function alreadyThere(path: string): UnavailableError {
  return new UnavailableError(path, 'it exists already', {
    hint: 'it may hold a key that something still needs: choose another name, or give --force to replace it',
  });
}

/** Says in a sentence what the operating system answered. Errors that already say it are passed on. */
export function fileError(error: unknown, what: string, path: string, verb: 'read' | 'write'): unknown {
  const code = codeOf(error);
  if (code === undefined) return error;
  const [reason, hint] = reasons[code] ?? [`the system answered ${code}`, undefined];
  return new UnavailableError(what, `cannot ${verb} ${path}: ${reason}`, { hint, cause: error });
}

const reasons: Readonly<Record<string, readonly [reason: string, hint?: string]>> = {
  ENOENT: ['there is no such file', 'check the path'],
  ENOTDIR: ['a part of the path is not a folder', 'check the path'],
  EACCES: ['permission was denied', 'check the owner and the mode of the file'],
  EPERM: ['the operation is not permitted'],
  EISDIR: ['it is a folder', 'name the file in it'],
  ENOSPC: ['the disk is full'],
  EROFS: ['the file system is read-only'],
  ENAMETOOLONG: ['the path is too long'],
};

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && 'syscall' in error ? String(error.code) : undefined;
}

const isCode = (error: unknown, code: string) => codeOf(error) === code;
const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  );

/** The content as text, where every byte is printable ASCII or white space. */
export function printableText(content: Uint8Array): string | undefined {
  const printable = content.every(
    (byte) => (byte >= 0x20 && byte < 0x7f) || byte === 0x0a || byte === 0x0d || byte === 0x09,
  );
  return printable ? new TextDecoder().decode(content) : undefined;
}

function tryDecode(work: () => Uint8Array): Uint8Array | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof InvalidArgumentError) return undefined;
    throw error;
  }
}

/** For JSON documents: how a file that was written is told. */
export function describeOutput(file: OutputFile): { path: string; bytes: number; secret: boolean } {
  return { path: file.path, bytes: file.bytes.length, secret: file.secret === true };
}

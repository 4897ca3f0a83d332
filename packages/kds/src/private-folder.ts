import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { UnavailableError } from '@vouchsafe/sev';

/** Files and folders that only their owner may enter. */

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

/** Makes a folder, and those above it that are missing, for this user only. */
export async function makePrivateFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
}

/**
 * Writes beside the file's place and renames into it, mode 0600: a reader sees the old file or the new one, never half
 * of one, and nobody else sees either.
 */
export async function writePrivately(path: string, bytes: Uint8Array | string): Promise<void> {
  const draft = `${path}.${randomUUID()}.tmp`;
  try {
    const handle = await open(draft, 'wx', 0o600);
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

/**
 * Writes a file that is not there yet; of several that write it at once one does, and all get what it wrote.
 * Mode 0600, whole or not at all.
 */
export async function writeOnce(path: string, bytes: Uint8Array | string): Promise<Uint8Array> {
  const draft = `${path}.${randomUUID()}`;
  await writePrivately(draft, bytes);
  try {
    await link(draft, path);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  } finally {
    await rm(draft, { force: true });
  }
  return Uint8Array.from(await readFile(path));
}

/** Reads a file, or gives undefined when there is none. */
export async function readIfThere(path: string): Promise<Uint8Array | undefined> {
  try {
    return Uint8Array.from(await readFile(path));
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Refuses a file or folder that others can read or change. @throws UnavailableError */
export async function requirePrivate(path: string): Promise<void> {
  const { mode } = await stat(path);
  if ((mode & 0o077) !== 0) {
    throw new UnavailableError(path, `others can reach it (mode ${(mode & 0o777).toString(8)})`, {
      hint: `it guards private keys: \`chmod go= ${path}\`, and make new keys if others have used this machine`,
    });
  }
}

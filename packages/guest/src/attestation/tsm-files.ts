import { constants } from 'node:fs';
import { mkdir, open, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

/** The five things that configfs-tsm is used with. Every method rejects with a NodeJS.ErrnoException. */
export interface TsmFiles {
  makeEntry(folder: string): Promise<void>;
  removeEntry(folder: string): Promise<void>;
  /** The whole file, of at most `most` bytes. */
  read(file: string, most: number): Promise<Uint8Array>;
  /** The whole content with one open, write and close: the kernel acts when the file is closed. */
  write(file: string, content: Uint8Array): Promise<void>;
}

/**
 * A file of a served folder (`serveAttestationFolder`), which linux’s does not have: reading it waits until the entries
 * that were made have their files.
 */
export const readyFile = 'ready';

/** The real files: linux’s own folder, or a served one. */
export const tsmFiles: TsmFiles = {
  async makeEntry(folder) {
    await mkdir(folder, { mode: 0o700 });
    try {
      await readAll(join(folder, '..', readyFile), 64);
    } catch (error) {
      // Linux's own folder has no such file, and its entries are complete at once.
      if (codeOf(error) !== 'ENOENT') throw error;
    }
  },
  async removeEntry(folder) {
    try {
      await rmdir(folder);
    } catch (error) {
      // Linux removes an entry with all that is in it; in a served folder the files are ordinary ones.
      if (codeOf(error) !== 'ENOTEMPTY') throw error;
      await rm(folder, { recursive: true, force: true });
    }
  },
  read: readAll,
  async write(file, content) {
    const handle = await open(file, constants.O_WRONLY | constants.O_TRUNC | constants.O_NOFOLLOW);
    try {
      await handle.write(content);
    } finally {
      await handle.close();
    }
  },
};

/** `ENOENT` and the like; undefined for errors that are not the system's. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

/** Files of configfs report no size that counts, so reading goes on to the end, within the limit. */
async function readAll(file: string, most: number): Promise<Uint8Array> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const room = new Uint8Array(most + 1);
    let length = 0;
    while (length < room.length) {
      const { bytesRead } = await handle.read(room, length, room.length - length);
      if (bytesRead === 0) return room.slice(0, length);
      length += bytesRead;
    }
    throw Object.assign(new Error(`EFBIG: ${file} has more than ${most} bytes`), { code: 'EFBIG' });
  } finally {
    await handle.close();
  }
}

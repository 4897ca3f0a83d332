import { closeSync, constants, openSync } from 'node:fs';
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

/** Longer than a host that is busy keeps a server from looking at its folder. */
const defaultPatienceMs = 90_000;

/**
 * The real files: linux’s own folder, or a served one.
 * @param patienceMs how long a served folder may take to fill an entry: one whose server was killed never does
 */
export function tsmFiles(patienceMs: number = defaultPatienceMs): TsmFiles {
  return {
    async makeEntry(folder) {
      await mkdir(folder, { mode: 0o700 });
      try {
        await untilReady(join(folder, '..', readyFile), patienceMs);
      } catch (error) {
        await rmdir(folder).catch(() => undefined);
        throw error;
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
}

async function untilReady(file: string, patienceMs: number): Promise<void> {
  // Opening a FIFO that nobody serves waits for ever; opening it for writing as well lets go of who waits.
  let gaveUp = false;
  const letGo = () => {
    gaveUp = true;
    try {
      closeSync(openSync(file, constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOFOLLOW));
    } catch {
      // It is gone, and so is who waits for it.
    }
  };
  const timer = setTimeout(letGo, patienceMs);
  try {
    // Its end says it all: programs that wait at the same time share what is in it.
    await readAll(file, 64);
    if (!gaveUp) return;
    throw Object.assign(new Error(`ETIMEDOUT: nobody serves ${file}`), { code: 'ETIMEDOUT' });
  } catch (error) {
    // Linux's own folder has no such file, and its entries are complete at once.
    if (codeOf(error) !== 'ENOENT') throw error;
  } finally {
    clearTimeout(timer);
  }
}

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

import { execFile } from 'node:child_process';
import { closeSync, constants, fstatSync, openSync, readSync, renameSync, rmSync } from 'node:fs';
import { promisify } from 'node:util';
import { UnavailableError } from '@vouchsafe/sev';
import { codeOf } from '../tsm-files.js';

/** Named pipes (FIFOs) as files whose content is made when they are read, and whose writers are not kept waiting. */

/** Makes FIFOs that only this user may open. @throws UnavailableError without mkfifo(1), or when one exists */
export async function makeFifos(...paths: readonly string[]): Promise<void> {
  await promisify(execFile)('mkfifo', ['-m', '600', '--', ...paths]).catch((cause: unknown) => {
    const problem = codeOf(cause) === 'ENOENT' ? 'the program is not installed' : String(cause);
    throw new UnavailableError('mkfifo', problem, { cause });
  });
}

/** A FIFO that programs read. */
export interface ReadableFifo {
  /**
   * A descriptor to write the content to when a program has opened the FIFO; else undefined. The program gets the end of
   * the file when the descriptor is closed. The next program already finds a new FIFO at the path.
   */
  accept(): Promise<number | undefined>;
}

/**
 * Looks after the FIFO at a path. Each is used for one reading: a reader that has not closed it yet would take the
 * content of the next one.
 * @param spare path in the same file system where the next one is made
 */
export function readableFifo(path: string, spare: string): ReadableFifo {
  return {
    async accept() {
      const descriptor = openFifo(path, constants.O_WRONLY);
      if (descriptor === undefined) return undefined;
      try {
        await makeFifos(spare);
        renameSync(spare, path);
        return descriptor;
      } catch (error) {
        closeSync(descriptor);
        rmSync(spare, { force: true });
        throw error;
      }
    },
  };
}

/** A FIFO that programs write. */
export interface WritableFifo {
  /** What was written since the last call and has been closed; undefined when nothing was. */
  take(): Uint8Array | undefined;
  close(): void;
}

/** Opens the FIFO at a path for reading, so that no writer waits. At most `limit` bytes are kept, and one more. */
export function openWritableFifo(path: string, limit: number): WritableFifo {
  const descriptor = openFifo(path, constants.O_RDONLY);
  if (descriptor === undefined) throw new UnavailableError(path, 'it cannot be opened');
  const kept = new Uint8Array(limit + 1);
  const room = new Uint8Array(4096);
  let length = 0;
  return {
    take() {
      for (;;) {
        const count = readSome(descriptor, room);
        // A program holds it open: it may write more.
        if (count === undefined) return undefined;
        if (count === 0) {
          const content = length === 0 ? undefined : kept.slice(0, length);
          length = 0;
          return content;
        }
        const fits = Math.min(count, kept.length - length);
        kept.set(room.subarray(0, fits), length);
        length += fits;
      }
    },
    close: () => closeSync(descriptor),
  };
}

/** Opens without waiting; undefined when there is no reader, or no file. @throws UnavailableError for what is no FIFO */
function openFifo(path: string, mode: number): number | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(path, mode | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch (error) {
    if (codeOf(error) === 'ENXIO' || codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  if (fstatSync(descriptor).isFIFO()) return descriptor;
  closeSync(descriptor);
  throw new UnavailableError(path, 'a file that is not a FIFO stands there');
}

/** Bytes read; 0 when no program has it open for writing, undefined when one has and nothing is there. */
function readSome(descriptor: number, room: Uint8Array): number | undefined {
  try {
    return readSync(descriptor, room);
  } catch (error) {
    if (codeOf(error) === 'EAGAIN') return undefined;
    throw error;
  }
}

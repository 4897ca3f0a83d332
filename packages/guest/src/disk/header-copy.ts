import { mkdtemp, open, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { type Appraisal, InvalidArgumentError, UnavailableError } from '@vouchsafe/sev';
import { spawnCryptsetup } from './cryptsetup.js';
import { luksFailure, requireVolumePath } from './luks.js';
import { appraiseLuks } from './luks-checks.js';
import { parseLuksMetadata } from './luks-metadata.js';

/**
 * A copy of a volume's header in memory. The host may answer every read of a disk as it likes, so that a header which is
 * looked at and then read again may be two; from the copy on, there is one.
 */
export interface LuksHeaderCopy {
  /** The file that holds it: no secret, and nobody else's to write. */
  readonly path: string;
  readonly appraisal: Appraisal;
  /** See `LuksMetadata`. */
  readonly binding: Uint8Array;
  /** Removes the copy. */
  remove(): Promise<void>;
}

export interface CopyLuksHeaderOptions {
  readonly volume: string;
  /** 32 bytes; what the volume must be bound to. */
  readonly binding?: Uint8Array | undefined;
  /** A folder in memory; the first of `/run` and `/dev/shm` that is one. */
  readonly folder?: string | undefined;
  readonly cryptsetup?: string | undefined;
}

/** Of a header as cryptsetup makes it, both copies and key slots. */
export const luksHeaderSize = 16 * 1024 * 1024;

/**
 * Copies the header of a LUKS2 volume into memory and appraises the copy.
 * @throws UnavailableError when the volume cannot be read, is none, or there is no memory to copy to
 * @throws MalformedError when its metadata makes no sense
 */
export async function copyLuksHeader(options: CopyLuksHeaderOptions): Promise<LuksHeaderCopy> {
  const { volume, binding, cryptsetup = 'cryptsetup' } = options;
  requireVolumePath(volume);
  if (binding !== undefined && binding.length !== 32)
    throw new InvalidArgumentError('binding', `expected 32 bytes, found ${binding.length}`);
  const folder = await mkdtemp(join(options.folder ?? (await memoryFolder()), 'vouchsafe-header-'));
  const remove = () => rm(folder, { recursive: true, force: true });
  try {
    const path = join(folder, 'header');
    const headerSize = await copyBeginning(volume, path);
    const args = ['luksDump', '--dump-json-metadata', path];
    const { status, stdout, complaint } = await spawnCryptsetup(cryptsetup, args);
    if (status !== 0) throw luksFailure('luksDump', volume, status, complaint.replaceAll(path, volume));
    const metadata = await parseLuksMetadata(stdout);
    const appraisal = appraiseLuks(`LUKS2 volume ${volume}`, metadata, { headerSize, binding });
    return { path, appraisal, binding: metadata.binding, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function copyBeginning(volume: string, path: string): Promise<number> {
  try {
    const from = await open(volume, 'r');
    try {
      const to = await open(path, 'wx', 0o600);
      try {
        const piece = new Uint8Array(1024 * 1024);
        let length = 0;
        while (length < luksHeaderSize) {
          const { bytesRead } = await from.read(piece, 0, piece.length, length);
          if (bytesRead === 0) break;
          await to.write(piece, 0, bytesRead, length);
          length += bytesRead;
        }
        return length;
      } finally {
        await to.close();
      }
    } finally {
      await from.close();
    }
  } catch (cause) {
    throw new UnavailableError('volume', `${volume} cannot be read`, { cause });
  }
}

/** f_type of statfs(2). */
const memoryFileSystems = [0x0102_1994 /* tmpfs */, 0x8584_58f6 /* ramfs */];

/** A disk would be the host's again: only a file system in memory will do. */
async function memoryFolder(): Promise<string> {
  for (const folder of ['/run', '/dev/shm']) {
    const found = await statfs(folder).catch(() => undefined);
    if (found !== undefined && memoryFileSystems.includes(found.type)) return folder;
  }
  throw new UnavailableError('memory', 'neither /run nor /dev/shm is a file system in memory', {
    hint: 'mount -t tmpfs tmpfs /run',
  });
}

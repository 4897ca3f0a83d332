import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { digest, toHex, UnavailableError } from '@vouchsafe/sev';
import { makePrivateFolder, readIfThere, writePrivately } from './private-folder.js';

/** Keeps certificates by name, for good. What does not last, such as a revocation list, its reader stops using. */
export interface CertificateCache {
  /** Undefined for an entry that is not there, and for one that is damaged. */
  get(name: string): Promise<Uint8Array | undefined>;
  put(name: string, bytes: Uint8Array): Promise<void>;
  remove(name: string): Promise<void>;
}

/** A cache that lasts as long as the process. */
export function memoryCache(): CertificateCache {
  const entries = new Map<string, Uint8Array>();
  return {
    get: async (name) => entries.get(name)?.slice(),
    async put(name, bytes) {
      entries.set(name, bytes.slice());
    },
    async remove(name) {
      entries.delete(name);
    },
  };
}

/**
 * A cache in a folder that only this user can enter. Each entry is the certificate file itself with a `.sha256` beside
 * it, in the form that `sha256sum -c` reads, so that a damaged file is noticed and fetched again.
 */
export function folderCache(folder: string): CertificateCache {
  const file = (name: string) => join(folder, name);
  const sumFile = (name: string) => join(folder, `${name}.sha256`);
  const sumOf = async (name: string, bytes: Uint8Array) =>
    `${toHex(await digest('sha256', bytes))}  ${name}\n`;

  return {
    async get(name) {
      try {
        const bytes = await readIfThere(file(name));
        const sum = await readIfThere(sumFile(name));
        if (bytes === undefined || sum === undefined) return undefined;
        return new TextDecoder().decode(sum) === (await sumOf(name, bytes)) ? bytes : undefined;
      } catch (error) {
        throw unusable(folder, error);
      }
    },

    async put(name, bytes) {
      try {
        await makePrivateFolder(folder);
        // The sum comes first: killed in between, the entry is missing or damaged and will be fetched again.
        await writePrivately(sumFile(name), await sumOf(name, bytes));
        await writePrivately(file(name), bytes);
      } catch (error) {
        throw unusable(folder, error);
      }
    },

    async remove(name) {
      await rm(file(name), { force: true });
      await rm(sumFile(name), { force: true });
    },
  };
}

function unusable(folder: string, cause: unknown): UnavailableError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new UnavailableError('cache folder', `${folder} cannot be used: ${reason}`, {
    hint: 'name another folder, or make this one readable and writable for you',
    cause,
  });
}

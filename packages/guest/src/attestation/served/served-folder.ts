import { closeSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { UnavailableError } from '@vouchsafe/sev';
import type { AttestationDevice } from '../attestation-device.js';
import { readyFile } from '../tsm-files.js';
import { makeFifos, readableFifo } from './fifo.js';
import { openServedEntry, type ServedEntry } from './served-entry.js';
import type { ServedAttestation } from './served-socket.js';

export interface ServedFolderOptions {
  /** Told what went wrong with an entry; serving goes on. */
  readonly onProblem?: (problem: string) => void;
  /** How long to wait between two looks at the folder. */
  readonly pollMs?: number;
}

const defaultPollMs = 10;

/**
 * Serves a device at a folder that behaves like configfs-tsm as far as ordinary files can: programs make an entry with
 * mkdir, write inblob and privlevel, and read outblob, auxblob, provider and generation. The files are FIFOs, so that
 * reading waits for the report. docs/attestation-folder.md says what is different.
 * @param folder is made, and must not exist or be empty
 * @throws UnavailableError when it has files, or there is no mkfifo(1)
 */
export async function serveAttestationFolder(
  device: AttestationDevice,
  folder: string,
  options: ServedFolderOptions = {},
): Promise<ServedAttestation> {
  const { onProblem = () => undefined, pollMs = defaultPollMs } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  if (readdirSync(folder).length > 0)
    throw new UnavailableError(folder, 'the folder is not empty', { hint: 'name one that can be made' });
  const spares = join(folder, '.spare');
  await mkdir(spares, { mode: 0o700 });
  const readyPath = join(folder, readyFile);
  await makeFifos(readyPath);
  const ready = readableFifo(readyPath, join(spares, readyFile));
  const entries = new Map<string, ServedEntry | undefined>();

  /** Opens entries that were made, and lets go of those that were removed. */
  async function lookAround(): Promise<void> {
    const present = readdirSync(folder, { withFileTypes: true })
      .filter((each) => each.isDirectory() && !each.name.startsWith('.'))
      .map(({ name }) => name);
    for (const [name, entry] of entries) {
      if (present.includes(name) && (entry === undefined || entry.exists())) continue;
      entry?.close();
      entries.delete(name);
    }
    for (const name of present) {
      if (entries.has(name)) continue;
      entries.set(name, await openEntry(name));
    }
  }

  async function openEntry(name: string): Promise<ServedEntry | undefined> {
    try {
      return await openServedEntry(device, join(folder, name), join(spares, 'entry'));
    } catch (error) {
      onProblem(
        `${name}: ${error instanceof Error ? error.message : String(error)}; read ${readyFile} after mkdir`,
      );
      return undefined;
    }
  }

  async function pollOnce(): Promise<void> {
    const asked = await ready.accept();
    await lookAround();
    if (asked !== undefined) {
      writeSync(asked, 'ready\n');
      closeSync(asked);
    }
    for (const [name, entry] of entries) {
      await entry?.poll().catch((error: unknown) => {
        if (entry.exists()) onProblem(`${name}: ${error instanceof Error ? error.message : String(error)}`);
      });
    }
  }

  let stopped = false;
  let wake: () => void = () => undefined;
  const serving = (async () => {
    while (!stopped) {
      await pollOnce().catch((error: unknown) => onProblem(String(error)));
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, stopped ? 0 : pollMs);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  })();

  return {
    async close() {
      if (stopped) return;
      stopped = true;
      wake();
      await serving;
      // Whoever waits for a file now would wait for ever.
      await pollOnce().catch(() => undefined);
      for (const entry of entries.values()) entry?.close();
      entries.clear();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

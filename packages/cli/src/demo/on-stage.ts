import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BootFiles, prepareBootFiles } from './boot-files.js';
import type { NarrationEvent } from './narration.js';
import type { ProcessorReady, ProcessorSettings } from './roles/processor.js';
import { openStage, type Stage } from './stage.js';
import type { Play } from './tell-story.js';

/** What is there while a story is played, and gone when it has been. */
export interface Scene {
  readonly stage: Stage;
  /** Path of a file or socket in the folder of this play. */
  readonly inFolder: (name?: string) => string;
  readonly files: BootFiles;
  /** Everything that was told so far. */
  readonly events: readonly NarrationEvent[];
  /** Tells what no role tells of itself. */
  readonly tell: (event: NarrationEvent) => void;
}

export async function onStage<T>({ tell: tellAudience, signal }: Play, play: (scene: Scene) => Promise<T>) {
  const folder = await mkdtemp(join(tmpdir(), 'vouchsafe-demo-'));
  const events: NarrationEvent[] = [];
  const tell = (event: NarrationEvent) => {
    events.push(event);
    tellAudience(event);
  };
  const stage = openStage(tell, signal);
  try {
    const files = await prepareBootFiles(folder);
    return await play({ stage, inFolder: (name = '') => join(folder, name), files, events, tell });
  } finally {
    await stage.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** A software processor, with a socket for each of its two faces. @param mebibytes of the machine's memory */
export async function startProcessor({ stage, inFolder }: Scene, mebibytes: number) {
  const [hostSocket, guestSocket] = [inFolder('host.sock'), inFolder('guest.sock')];
  const settings: ProcessorSettings = {
    folder: inFolder('chip'),
    hostSocket,
    guestSocket,
    memory: mebibytes * 1024 * 1024,
  };
  const { ready } = await stage.start<ProcessorReady>('processor', settings);
  return { chip: ready, hostSocket, guestSocket };
}

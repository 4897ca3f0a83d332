import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { UnavailableError } from '@vouchsafe/sev';

export interface BuildWatchOptions {
  readonly files: readonly string[];
  /** Milliseconds without a change after which a build counts as done: it writes its files one by one. */
  readonly settle: number;
  /** Called when files have changed and then not changed for that long; never twice at a time. */
  onBuild(): Promise<void>;
  onError(error: unknown): void;
}

/**
 * Watches files through their folders: builds replace files, and a watcher of a file would go on watching the old one.
 * @returns stops it, once a call that is under way has ended
 * @throws UnavailableError when a folder cannot be watched
 */
export function watchBuild({ files, settle, onBuild, onError }: BuildWatchOptions): () => Promise<void> {
  const folders = [...new Set(files.map((file) => dirname(file)))];
  const watchers: FSWatcher[] = [];
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();
  let stopped = false;
  const changed = () => {
    if (stopped) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      running = running.then(() => (stopped ? undefined : onBuild())).catch(onError);
    }, settle);
  };
  try {
    for (const folder of folders) {
      const names = files.filter((file) => dirname(file) === folder).map((file) => basename(file));
      const watcher = watch(folder, (_event, name) => {
        if (name === null || names.includes(name)) changed();
      });
      watcher.on('error', onError);
      watchers.push(watcher);
    }
  } catch (cause) {
    for (const watcher of watchers) watcher.close();
    throw new UnavailableError('build', `${folders.join(', ')} cannot be watched`, { cause });
  }
  return async () => {
    stopped = true;
    clearTimeout(timer);
    for (const watcher of watchers) watcher.close();
    await running;
  };
}

import { UnavailableError } from '@vouchsafe/sev';
import type { Io } from '../../frame/io.js';
import { type Service, startService } from './processes.js';

/** What `up` started: all of it ends together. */
export class Services {
  readonly #io: Io;
  readonly #started: { readonly name: string; readonly service: Service<unknown> }[] = [];

  constructor(io: Io) {
    this.#io = io;
  }

  /** @returns what the command printed when it was ready, and its process. @throws UnavailableError */
  async start<T extends object>(
    name: string,
    words: readonly string[],
  ): Promise<T & { readonly pid: number }> {
    const service = await startService<T>(words, { name, io: this.#io });
    this.#started.push({ name, service });
    return { ...service.document, pid: service.pid };
  }

  async close(): Promise<void> {
    await Promise.all(this.#started.map(({ service }) => service.close()));
  }

  /** @throws UnavailableError when one of them ends by itself, after the others were ended */
  async untilStopped(stop: AbortSignal): Promise<void> {
    const stopped = new Promise<undefined>((resolve) => {
      if (stop.aborted) resolve(undefined);
      stop.addEventListener('abort', () => resolve(undefined), { once: true });
    });
    const gone = this.#started.map(({ name, service }) => service.gone.then(() => name));
    const ended = await Promise.race([stopped, ...gone]);
    await this.close();
    if (ended !== undefined)
      throw new UnavailableError(ended, 'its process ended; the others were ended, too');
  }
}

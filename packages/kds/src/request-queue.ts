import { UnavailableError } from '@vouchsafe/sev';

export interface RequestQueueOptions {
  /** Requests under way at the same time. */
  readonly atOnce: number;
  /** Requests that may wait for their turn; one more is refused. */
  readonly waiting: number;
  /** Waits; tests return at once and note for how long they were asked to. */
  readonly sleep: (milliseconds: number) => Promise<void>;
}

/** Every request of a client goes through it, so that one that is asked to be patient makes all of them patient. */
export interface RequestQueue {
  /** @throws QueueFullError */
  run<T>(work: () => Promise<T>): Promise<T>;
  /** Waits, and lets no request start before. */
  pause(milliseconds: number): Promise<void>;
}

/** More requests than this process is ready to remember. */
export class QueueFullError extends UnavailableError {
  constructor(waiting: number) {
    super('key service', `${waiting} requests are waiting for it already`, {
      hint: 'ask again when some have been answered; what is cached is answered at once',
    });
  }
}

export function createRequestQueue({ atOnce, waiting, sleep }: RequestQueueOptions): RequestQueue {
  const line: (() => void)[] = [];
  let running = 0;
  let quiet: Promise<unknown> = Promise.resolve();

  /** A turn that is given back goes to the next in line, so that nobody who comes later overtakes. */
  async function takeTurn(): Promise<void> {
    if (running < atOnce) {
      running++;
      return;
    }
    if (line.length >= waiting) throw new QueueFullError(waiting);
    await new Promise<void>((resolve) => line.push(resolve));
  }

  function giveBack(): void {
    const next = line.shift();
    if (next === undefined) running--;
    else next();
  }

  return {
    async run(work) {
      await takeTurn();
      try {
        await quiet;
        return await work();
      } finally {
        giveBack();
      }
    },
    async pause(milliseconds) {
      quiet = Promise.all([quiet, sleep(milliseconds)]);
      await quiet;
    },
  };
}

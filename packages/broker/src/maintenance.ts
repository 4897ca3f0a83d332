export interface MaintenanceTask {
  /** Milliseconds between two runs. */
  readonly every: number;
  /** A shorter time to the next run, while there is a reason. */
  readonly sooner?: () => number | undefined;
  run(): Promise<void>;
}

export interface MaintenanceOptions {
  readonly tasks: Readonly<Record<string, MaintenanceTask>>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly onFailure: (task: string, error: unknown) => void;
}

/** What a broker does beside answering. A task never runs beside itself, and one that fails is run again when it is due. */
export interface Maintenance {
  /** Runs every task now, due or not. */
  runAll(): Promise<void>;
  start(): void;
  /** Ends the timer and waits for what is running. */
  stop(): Promise<void>;
}

const tick = 5000;

export function createMaintenance({ tasks, now, onFailure }: MaintenanceOptions): Maintenance {
  const ranAt = new Map<string, number>();
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();

  async function run(name: string, task: MaintenanceTask): Promise<void> {
    try {
      await task.run();
      ranAt.set(name, now());
    } catch (error) {
      onFailure(name, error);
    }
  }

  async function round(isDue: (name: string, task: MaintenanceTask) => boolean): Promise<void> {
    for (const [name, task] of Object.entries(tasks)) if (isDue(name, task)) await run(name, task);
  }

  const due = (name: string, { every, sooner }: MaintenanceTask) => {
    const last = ranAt.get(name);
    return last === undefined || now() - last >= Math.min(every, sooner?.() ?? every);
  };
  const begin = (isDue: Parameters<typeof round>[0]) => {
    running = running.then(() => round(isDue)).catch((error: unknown) => onFailure('clock', error));
    return running;
  };

  return {
    runAll: () => begin(() => true),
    start() {
      timer ??= setInterval(() => void begin(due), tick).unref();
    },
    async stop() {
      clearInterval(timer);
      await running;
    },
  };
}

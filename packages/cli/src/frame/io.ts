/**
 * What the command line touches of the process that it runs in. Tests pass their own, so that a command can be run
 * without a process.
 */
export interface OutputStream {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

export interface Io {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Reads standard input to its end. @throws InvalidArgumentError when there is none in sight */
  readStdin(): Promise<Uint8Array>;
  /** Aborts when the user asks a command that stays (a server) to stop. Nothing listens until it is first called. */
  stopSignal(): AbortSignal;
}

/** The process's own streams; SIGINT, SIGTERM, and the end of a process that started it with a channel ask a server to stop. */
export function processIo(): Io {
  let stop: AbortController | undefined;
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    // Loaded here and not above: help needs nothing of it.
    readStdin: async () => (await import('./collect.js')).collect(process.stdin, 'standard input'),
    stopSignal() {
      if (stop === undefined) {
        const controller = new AbortController();
        stop = controller;
        for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => controller.abort());
        if (process.connected === false) controller.abort();
        process.once('disconnect', () => controller.abort());
        // Who listens for its end would stay for it.
        process.channel?.unref();
      }
      return stop.signal;
    },
  };
}

import type { Io } from '../frame/io.js';
import type { CommandTable } from '../frame/table.js';

export interface Outcome {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly stdin?: Uint8Array;
  /** Pretends that both outputs are a terminal of this many columns. */
  readonly terminal?: number;
}

/** An Io that keeps what is written. */
export function recordingIo(options: RunOptions = {}): {
  io: Io;
  output(): Omit<Outcome, 'exit'>;
  stop(): void;
} {
  let stdout = '';
  let stderr = '';
  const controller = new AbortController();
  const terminal = options.terminal === undefined ? {} : { isTTY: true, columns: options.terminal };
  return {
    io: {
      stdout: {
        ...terminal,
        write: (text) => {
          stdout += text;
        },
      },
      stderr: {
        ...terminal,
        write: (text) => {
          stderr += text;
        },
      },
      env: options.env ?? {},
      readStdin: async () => options.stdin ?? new Uint8Array(),
      stopSignal: () => controller.signal,
    },
    output: () => ({ stdout, stderr }),
    stop: () => controller.abort(),
  };
}

/** Runs `vouchsafe` in this process. */
export async function run(words: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const { main } = await import('../main.js');
  const { io, output } = recordingIo(options);
  const exit = await main(words, io);
  return { exit, ...output() };
}

/** Runs `vouchsafe … --json` and reads its one document. */
export async function runJson<T>(
  words: readonly string[],
  options: RunOptions = {},
): Promise<Outcome & { document: T }> {
  const outcome = await run([...words, '--json'], options);
  return { ...outcome, document: JSON.parse(outcome.stdout) as T };
}

/** Starts a command that stays; resolves when it has printed its document. Stop it, then await `ended`. */
export async function start<T>(words: readonly string[]): Promise<{ document: T; stop(): Promise<Outcome> }> {
  const { main } = await import('../main.js');
  const { io, output, stop } = recordingIo();
  let announce: () => void = () => undefined;
  const announced = new Promise<void>((resolve) => {
    announce = resolve;
  });
  const watched: Io = {
    ...io,
    stdout: {
      write(text) {
        io.stdout.write(text);
        announce();
      },
    },
  };
  const ended = main([...words, '--json'], watched).then((exit) => ({ exit, ...output() }));
  await Promise.race([announced, ended]);
  return {
    document: JSON.parse(output().stdout) as T,
    async stop() {
      stop();
      return ended;
    },
  };
}

/** Runs a table of the test's own, to test the frame without the commands. */
export async function runTable(
  table: CommandTable,
  words: readonly string[],
  options: RunOptions = {},
): Promise<Outcome> {
  const { runProgram } = await import('../frame/program.js');
  const { io, output } = recordingIo(options);
  const exit = await runProgram(
    { name: 'vouchsafe', version: '1.2.3', description: 'A test.', closing: 'End.', table },
    words,
    io,
  );
  return { exit, ...output() };
}

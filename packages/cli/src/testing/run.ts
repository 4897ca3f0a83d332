import { keep } from '../../../../tools/src/left-behind/keep.js';
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
          keep('logs', text);
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

export interface Started<T> {
  /** What the command printed when it was ready. */
  readonly document: T;
  /** Resolves when the command has written this text on either output. */
  saw(text: string): Promise<void>;
  /** Asks it to stop, and waits until it has. */
  stop(): Promise<Outcome>;
}

/** Starts a command that stays; resolves when it is ready. */
export async function start<T>(words: readonly string[]): Promise<Started<T>> {
  const { main } = await import('../main.js');
  const { io, output, stop } = recordingIo();
  const waiting = new Set<() => void>();
  const watched = (stream: Io['stdout']) => ({
    write(text: string) {
      stream.write(text);
      for (const look of waiting) look();
    },
  });
  const ended = main([...words, '--json'], {
    ...io,
    stdout: watched(io.stdout),
    stderr: watched(io.stderr),
  }).then((exit) => ({ exit, ...output() }));
  const until = (isThere: () => boolean) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (!isThere()) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
    });
  await Promise.race([until(() => output().stdout !== ''), ended]);
  return {
    document: JSON.parse(output().stdout) as T,
    saw: (text) => until(() => (output().stdout + output().stderr).includes(text)),
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

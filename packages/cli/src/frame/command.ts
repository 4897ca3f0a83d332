import type { Io } from './io.js';
import type { Progress } from './progress.js';
import type { Screen } from './screen.js';

/** Every status that a command can end with. Scripts rely on them. */
export const exitStatus = { done: 0, refused: 1, malformed: 2, outsideFailed: 3 } as const;

/** Exit status of a mistake in this program itself: none of the four, so that no script takes it for a verdict. */
export const internalErrorStatus = 70;

/** What the command line gave for one option or argument, before it is read. */
export type Given = string | true | readonly string[] | undefined;

/** One option: how it is written, what it is for, and how its text becomes a value. */
export interface Option<T> {
  /** As commander wants it: `--policy <n>`, `--force`. */
  readonly flags: string;
  readonly help: string;
  readonly repeats?: boolean;
  /** Heading that help lists it under; the others stand first. */
  readonly group?: string;
  /** @throws InvalidArgumentError, naming the option */
  read(given: Given): T;
}

/** One positional argument: `<file>`, `[file]`, `<file...>`. */
export interface Argument<T> {
  readonly name: string;
  readonly help: string;
  read(given: Given): T;
}

type Declared = Option<unknown> | Argument<unknown>;
type Values<R extends Record<string, Declared>> = {
  readonly [K in keyof R]: R[K] extends { read(given: Given): infer T } ? T : never;
};

/** What a command is given besides its options. */
export interface Context {
  readonly io: Io;
  /** True when one JSON document is wanted. */
  readonly json: boolean;
  /** Where the user's `--json`, colours and terminal do not matter: a word on standard error, on a terminal only. */
  readonly progress: Progress;
}

/** How a command ended. The frame prints `json` or calls `render`, never both, and exits with `exit`. */
export interface Result {
  readonly exit: 0 | 1;
  /** The document that `--json` prints. */
  readonly json: unknown;
  render(screen: Screen): void;
  /**
   * For a command that stays, such as a server: called after printing, resolves when everything has been ended.
   * A rejection counts as the command's failure.
   */
  stay?(stop: AbortSignal): Promise<void>;
}

export interface Command<
  A extends Record<string, Argument<unknown>>,
  O extends Record<string, Option<unknown>>,
> {
  /** What it does, in a few sentences, for `--help`. */
  readonly description: string;
  /** In the order in which they are written. */
  readonly arguments: A;
  readonly options: O;
  /** Command lines that work as they stand, with a word on each. */
  readonly examples: readonly Example[];
  run(input: Values<A> & Values<O>, context: Context): Promise<Result>;
}

export interface Example {
  readonly line: string;
  readonly explains: string;
}

/** A command whose value types have been forgotten: what the table loads. */
export type AnyCommand = Command<Record<string, Argument<unknown>>, Record<string, Option<unknown>>>;

/** Declares a command; the types of its values come from the declarations of its arguments and options. */
export function command<
  const A extends Record<string, Argument<unknown>>,
  const O extends Record<string, Option<unknown>>,
>(declaration: Command<A, O>): AnyCommand {
  return declaration as unknown as AnyCommand;
}

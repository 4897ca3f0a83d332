import { type ChildProcess, spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import {
  type ProgramAnswer,
  type ProgramQuestion,
  type ProgramStart,
  policyProgram,
} from './policy-program.js';

/** What a compiled policy may use. */
export interface CompiledPolicyLimits {
  /** Milliseconds for one answer. */
  readonly deadline: number;
  /** Milliseconds for beginning a process and loading the policy. */
  readonly loadDeadline: number;
  /** Pages of 64 KiB that the policy may grow to. What OPA's built-in functions use beside them is limited as well. */
  readonly memoryPages: number;
}

/** Two seconds, ten to begin, 16 MiB. */
export const defaultCompiledPolicyLimits: CompiledPolicyLimits = {
  deadline: 2000,
  loadDeadline: 10_000,
  memoryPages: 256,
};

/** How a compiled policy can fail; each stands for itself in denials, with `compiled-policy.` before it. */
export type CompiledPolicyFault = 'deadline' | 'memory' | 'failure';

/** A compiled policy gave no answer. It goes no further than the release policy, which denies. */
export class CompiledPolicyError extends Error {
  readonly fault: CompiledPolicyFault;

  constructor(fault: CompiledPolicyFault, message: string) {
    super(message);
    this.fault = fault;
  }
}

const require = createRequire(import.meta.url);
const opaPath = require.resolve('@open-policy-agent/opa-wasm');

/** Megabytes for the JavaScript of OPA's built-in functions. */
const heapMegabytes = 64;

/** Questions at one time: a policy that overruns must not hold every guest for ever. */
const mostWaiting = 64;

/** OPA's own part needs as many pages before a policy has said anything. */
const leastPages = 5;

/**
 * A process with one compiled policy in it: a thread that runs out of memory would take the broker along, and a process
 * holds none of the broker's keys. Questions are answered one after the other; one that overruns ends the process, and the
 * next begins another.
 */
export class PolicyProcess {
  readonly #start: ProgramStart;
  readonly #limits: CompiledPolicyLimits;
  #process: ChildProcess | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(policy: Uint8Array, initialPages: number, limits: CompiledPolicyLimits) {
    const memory = { initial: Math.max(initialPages, leastPages), maximum: limits.memoryPages };
    this.#start = { opa: opaPath, policy, memory };
    this.#limits = limits;
  }

  /**
   * Loads the policy, and names what can be asked of it.
   * @throws CompiledPolicyError
   */
  entrypoints(): Promise<readonly string[]> {
    return this.#inTurn(async () => {
      await this.close();
      return this.#begin();
    });
  }

  /** @throws CompiledPolicyError */
  evaluate(question: ProgramQuestion): Promise<unknown> {
    return this.#inTurn(async () => {
      if (this.#process === undefined) await this.#begin();
      const answer = await this.#answer(question, this.#limits.deadline);
      if ('result' in answer) return answer.result;
      throw new CompiledPolicyError('failure', 'failure' in answer ? answer.failure : 'no answer');
    });
  }

  /** Ends the process, and resolves when it has ended. */
  async close(): Promise<void> {
    const ending = this.#process;
    this.#process = undefined;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    const ended = new Promise((resolve) => ending.once('exit', resolve));
    ending.kill('SIGKILL');
    ending.ref();
    await ended;
  }

  async #begin(): Promise<readonly string[]> {
    const flags = [`--max-old-space-size=${heapMegabytes}`, '--max-semi-space-size=8'];
    const begun = spawn(process.execPath, [...flags, '-e', policyProgram], {
      // The broker's environment may hold its master key, and what a policy prints may hold claims.
      env: {},
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      serialization: 'advanced',
      cwd: '/',
    });
    begun.unref();
    begun.channel?.unref();
    this.#process = begun;
    const answer = await this.#answer(this.#start, this.#limits.loadDeadline);
    if ('entrypoints' in answer) return answer.entrypoints;
    await this.close();
    throw new CompiledPolicyError('failure', 'failure' in answer ? answer.failure : 'no answer');
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= mostWaiting)
      throw new CompiledPolicyError('deadline', 'too many questions wait for an answer');
    this.#waiting += 1;
    const turn = this.#last.then(work).finally(() => {
      this.#waiting -= 1;
    });
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  /** Sends a message and waits for the next one back, the process's end, or the deadline. */
  async #answer(message: ProgramStart | ProgramQuestion, deadline: number): Promise<ProgramAnswer> {
    const asked = this.#process;
    let cleanUp = (): void => undefined;
    try {
      return await new Promise<ProgramAnswer>((resolve, reject) => {
        const fail = (fault: CompiledPolicyFault, found: string) =>
          reject(new CompiledPolicyError(fault, found));
        const timer = setTimeout(() => fail('deadline', `no answer within ${deadline} ms`), deadline);
        const onMessage = (answer: unknown) => resolve(answer as ProgramAnswer);
        const onError = (error: Error) => fail('failure', error.message);
        const onExit = (_: number | null, signal: NodeJS.Signals | null) =>
          // This is how V8 ends where its heap is full.
          signal === 'SIGABRT'
            ? fail('memory', 'more memory than it may use')
            : fail('failure', 'its process has ended');
        cleanUp = () => {
          clearTimeout(timer);
          asked?.off('message', onMessage).off('error', onError).off('exit', onExit);
        };
        asked?.once('message', onMessage).once('error', onError).once('exit', onExit);
        if (asked?.connected === true) asked.send(message, (error) => error && onError(error));
        else fail('failure', 'its process has ended');
      });
    } catch (error) {
      await this.close();
      throw error;
    } finally {
      cleanUp();
    }
  }
}

import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import type { WorkerAnswer, WorkerQuestion, WorkerStart } from './worker.js';
import { workerSource } from './worker.js';

/** What a compiled policy may use. */
export interface CompiledPolicyLimits {
  /** Milliseconds for one answer, and for loading. */
  readonly deadline: number;
  /** Pages of 64 KiB that the policy may grow to. */
  readonly memoryPages: number;
}

/** Two seconds, 16 MiB. */
export const defaultCompiledPolicyLimits: CompiledPolicyLimits = { deadline: 2000, memoryPages: 256 };

/** How a compiled policy can fail; each stands for itself in denials, with `compiled-policy.` before it. */
export type CompiledPolicyFault = 'deadline' | 'memory' | 'failure';

/** A compiled policy gave no answer. It stays inside the worker's client: callers get a denial. */
export class CompiledPolicyError extends Error {
  readonly fault: CompiledPolicyFault;

  constructor(fault: CompiledPolicyFault, message: string) {
    super(message);
    this.fault = fault;
  }
}

const opaPath = createRequire(import.meta.url).resolve('@open-policy-agent/opa-wasm');

/** A worker with one compiled policy in it. Questions are answered one after the other; one that overruns ends the worker. */
export class OpaWorker {
  readonly #start: WorkerStart;
  readonly #limits: CompiledPolicyLimits;
  #worker: Worker | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(policy: Uint8Array, initialPages: number, limits: CompiledPolicyLimits) {
    const memory = { initial: Math.max(initialPages, leastPages), maximum: limits.memoryPages };
    this.#start = { opa: opaPath, policy, memory };
    this.#limits = limits;
  }

  /**
   * Loads the policy, where it is not loaded, and names what can be asked of it.
   * @throws CompiledPolicyError
   */
  entrypoints(): Promise<readonly string[]> {
    return this.#inTurn(async () => {
      await this.close();
      return this.#begin();
    });
  }

  /** @throws CompiledPolicyError */
  evaluate(question: WorkerQuestion): Promise<unknown> {
    return this.#inTurn(async () => {
      if (this.#worker === undefined) await this.#begin();
      const answer = await this.#answer(() => this.#worker?.postMessage(question));
      if ('result' in answer) return answer.result;
      throw new CompiledPolicyError('failure', 'failure' in answer ? answer.failure : 'no answer');
    });
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }

  async #begin(): Promise<readonly string[]> {
    const answer = await this.#answer(() => {
      this.#worker = new Worker(workerSource, {
        eval: true,
        workerData: this.#start,
        env: {},
        argv: [],
        // What a policy prints would carry claims into the broker's log.
        stdout: true,
        stderr: true,
        resourceLimits: { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 16, stackSizeMb: 2 },
      });
      this.#worker.unref();
    });
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

  /** Waits for the worker's next message, its end, or the deadline. */
  async #answer(begin: () => void): Promise<WorkerAnswer> {
    const { deadline } = this.#limits;
    begin();
    const worker = this.#worker;
    if (worker === undefined) throw new CompiledPolicyError('failure', 'the worker has ended');
    const { promise, settle } = settled();
    const timer = setTimeout(
      () => settle(new CompiledPolicyError('deadline', `no answer within ${deadline} ms`)),
      deadline,
    );
    const onMessage = (answer: WorkerAnswer) => settle(answer);
    const onError = (error: Error & { code?: string }) =>
      settle(
        error.code === 'ERR_WORKER_OUT_OF_MEMORY'
          ? new CompiledPolicyError('memory', 'more memory than it may use')
          : new CompiledPolicyError('failure', error.message),
      );
    const onExit = () => settle(new CompiledPolicyError('failure', 'the worker has ended'));
    worker.once('message', onMessage).once('error', onError).once('exit', onExit);
    try {
      return await promise;
    } catch (error) {
      await this.close();
      throw error;
    } finally {
      clearTimeout(timer);
      worker.off('message', onMessage).off('error', onError).off('exit', onExit);
    }
  }
}

/** Questions at one time: a policy that overruns must not hold every guest for ever. */
const mostWaiting = 64;

/** OPA's own part needs as much before a policy has said anything. */
const leastPages = 5;

function settled() {
  let settle: (outcome: WorkerAnswer | CompiledPolicyError) => void = () => undefined;
  const promise = new Promise<WorkerAnswer>((resolve, reject) => {
    settle = (outcome) => (outcome instanceof CompiledPolicyError ? reject(outcome) : resolve(outcome));
  });
  return { promise, settle };
}

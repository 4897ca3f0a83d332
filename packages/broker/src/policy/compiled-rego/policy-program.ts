/** What the process is told first. */
export interface ProgramStart {
  /** Path of `@open-policy-agent/opa-wasm`: a program from text has no place to look it up from. */
  readonly opa: string;
  readonly policy: Uint8Array;
  /** Pages of 64 KiB. */
  readonly memory: { readonly initial: number; readonly maximum: number };
}

/** What it is asked. */
export interface ProgramQuestion {
  readonly entrypoint: string;
  readonly input: unknown;
  readonly data: unknown;
}

export type ProgramAnswer =
  | { readonly entrypoints: readonly string[] }
  | { readonly result: unknown }
  | { readonly failure: string };

interface OpaPolicy {
  readonly entrypoints: Readonly<Record<string, number>>;
  setData(data: unknown): void;
  evaluate(input: unknown, entrypoint: string): unknown;
}
interface Opa {
  loadPolicySync(module: unknown, memory: { initial: number; maximum: number }): OpaPolicy;
}
interface Threads {
  readonly Worker: new (source: string, options: { eval: true; workerData: unknown }) => { unref(): void };
}

declare const WebAssembly: { readonly Module: new (bytes: Uint8Array) => unknown };

/**
 * Everything that runs in the process, which gets it as text: it may use nothing from outside of itself. Each question
 * gets a new instance of the policy, so that nothing of one guest's can reach the next.
 */
function serve(load: (name: string) => unknown): void {
  const { Worker } = load('node:worker_threads') as Threads;
  // A policy that loops does not see that its broker is gone: another thread does.
  const watch = `
    const { workerData } = require('node:worker_threads');
    setInterval(() => process.ppid === workerData || process.kill(process.pid, 'SIGKILL'), 500);
  `;
  new Worker(watch, { eval: true, workerData: process.ppid }).unref();

  const textOf = (error: unknown) =>
    error instanceof Error
      ? error.message
      : String((error as { message?: unknown } | null)?.message ?? error);
  const answer = (work: () => ProgramAnswer) => {
    let outcome: ProgramAnswer;
    try {
      outcome = work();
    } catch (error) {
      outcome = { failure: textOf(error) };
    }
    process.send?.(outcome);
  };
  process.once('disconnect', () => process.exit());
  process.once('message', ({ opa, policy, memory }: ProgramStart) => {
    const { loadPolicySync } = load(opa) as Opa;
    let module: unknown;
    const instance = () => loadPolicySync(module, { ...memory });
    process.on('message', ({ entrypoint, input, data }: ProgramQuestion) => {
      answer(() => {
        const loaded = instance();
        loaded.setData(data);
        return { result: loaded.evaluate(input, entrypoint) };
      });
    });
    answer(() => {
      module = new WebAssembly.Module(policy);
      return { entrypoints: Object.keys(instance().entrypoints) };
    });
  });
}

/** The process's program, as CommonJS. */
export const policyProgram = `(${serve.toString()})(require);`;

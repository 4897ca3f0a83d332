/** What the worker is started with. */
export interface WorkerStart {
  /** Path of `@open-policy-agent/opa-wasm`: a worker from text has no place to look it up from. */
  readonly opa: string;
  readonly policy: Uint8Array;
  /** Pages of 64 KiB. */
  readonly memory: { readonly initial: number; readonly maximum: number };
}

/** What the worker is asked. */
export interface WorkerQuestion {
  readonly entrypoint: string;
  readonly input: unknown;
  readonly data: unknown;
}

export type WorkerAnswer =
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
interface Port {
  on(event: 'message', listener: (question: WorkerQuestion) => void): void;
  postMessage(answer: WorkerAnswer): void;
}
interface Threads {
  readonly parentPort: Port;
  readonly workerData: WorkerStart;
}

declare const WebAssembly: { readonly Module: new (bytes: Uint8Array) => unknown };

/**
 * Everything that runs in the worker, which gets it as text: it may use nothing from outside of itself. Each question gets
 * a new instance of the policy, so that nothing of one guest's can reach the next.
 */
function serve(load: (name: string) => unknown): void {
  const { parentPort, workerData } = load('node:worker_threads') as Threads;
  const { loadPolicySync } = load(workerData.opa) as Opa;
  const textOf = (error: unknown) =>
    error instanceof Error
      ? error.message
      : String((error as { message?: unknown } | null)?.message ?? error);
  const answer = (work: () => WorkerAnswer) => {
    try {
      parentPort.postMessage(work());
    } catch (error) {
      parentPort.postMessage({ failure: textOf(error) });
    }
  };
  let module: unknown;
  const instance = () => loadPolicySync(module, { ...workerData.memory });
  parentPort.on('message', ({ entrypoint, input, data }) => {
    answer(() => {
      const policy = instance();
      policy.setData(data);
      return { result: policy.evaluate(input, entrypoint) };
    });
  });
  answer(() => {
    module = new WebAssembly.Module(workerData.policy);
    return { entrypoints: Object.keys(instance().entrypoints) };
  });
}

/** The worker's program, as CommonJS. */
export const workerSource = `(${serve.toString()})(require);`;

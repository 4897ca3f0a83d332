import type { Served } from './vmgexit.js';

/** A vCPU of one guest, as its hypervisor runs it: VMRUN, serve the exit, VMRUN again. */
export interface VirtualCpu {
  /** Lets it run; does nothing when it runs or has ended. */
  start(): void;
  /** Resolves when it is out of the guest and stays out. */
  stop(): Promise<void>;
  /** Keeps it from being entered again, without waiting for it. */
  abandon(): void;
}

export interface VirtualCpuOptions {
  /** One VMRUN. @returns what serves its exit */
  enter(): Promise<() => Promise<Served> | Served>;
  onEnd(end: Extract<Served, object>): void;
}

export function virtualCpu({ enter, onEnd }: VirtualCpuOptions): VirtualCpu {
  let wanted = false;
  let abandoned = false;
  let ended = false;
  let halted = false;
  let running: Promise<void> | undefined;

  async function runOnce(): Promise<Served> {
    const serve = await enter();
    return abandoned ? 'halted' : serve();
  }

  /** A halted vCPU waits for an interrupt, and this machine has none: it stays where it is, and counts as running. */
  async function run(): Promise<void> {
    while (wanted && !abandoned && !halted && !ended) {
      const served = await runOnce().catch(lost);
      if (abandoned) return;
      if (served === 'halted') halted = true;
      else if (served !== 'enter-again') {
        ended = true;
        onEnd(served);
      }
    }
  }

  function start(): void {
    wanted = true;
    running ??= run().then(() => {
      running = undefined;
      if (wanted && !abandoned && !halted && !ended) start();
    });
  }

  return {
    start,
    async stop() {
      wanted = false;
      await running;
    },
    abandon() {
      abandoned = true;
      wanted = false;
    },
  };
}

/** The machine itself went away, or refused what was asked of it. */
function lost(error: unknown): Served {
  return { ended: 'fault', detail: error instanceof Error ? error.message : String(error) };
}

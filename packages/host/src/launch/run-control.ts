import { UnavailableError } from '@vouchsafe/sev';
import type { MachineEvent, RunState, VirtualMachine } from './launcher.js';
import type { VirtualCpu } from './virtual-cpu.js';
import type { Served } from './vmgexit.js';

export interface RunControlOptions {
  /** What runs; for a guest of several vCPUs all of them. */
  readonly cpu: VirtualCpu;
  /** Ends the launch, before the guest runs for the first time. */
  finish(): Promise<void>;
  /** Gives back what the guest had. */
  release(): Promise<void>;
}

/** Running, pausing and ending a launched guest, with the events of that. */
export interface RunControl {
  readonly machine: VirtualMachine;
  /** Does the work unless the machine has been quit. @throws UnavailableError */
  whilePresent<T>(work: () => Promise<T>): Promise<T>;
}

/** Tells what happened in a machine to whom it may concern; vCPUs and devices are made before the machine is. */
export interface MachineEvents {
  emit(event: MachineEvent): void;
  /** The guest, or a vCPU of it, is at its end. */
  end(end: Extract<Served, object>): void;
  readonly hasEnded: boolean;
  onEvent: VirtualMachine['onEvent'];
}

export function machineEvents(): MachineEvents {
  const listeners = new Set<(event: MachineEvent) => void>();
  let hasEnded = false;
  const emit = (event: MachineEvent) => {
    for (const listener of listeners) listener(event);
  };
  return {
    emit,
    end({ ended, detail }) {
      if (hasEnded) return;
      hasEnded = true;
      emit({ type: 'ended', reason: ended, detail });
    },
    get hasEnded() {
      return hasEnded;
    },
    onEvent(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

export function runControl(events: MachineEvents, { cpu, finish, release }: RunControlOptions): RunControl {
  let status: RunState = 'prelaunch';
  let finished: Promise<void> | undefined;
  let released: Promise<void> | undefined;
  const present = () => {
    if (released !== undefined) throw new UnavailableError('virtual machine', 'it has been quit');
  };
  const runnable = () => {
    present();
    if (!events.hasEnded) return;
    throw new UnavailableError('virtual machine', 'its guest has ended', {
      hint: 'quit it and launch a new one',
    });
  };

  const machine: VirtualMachine = {
    status: async () => (events.hasEnded || released !== undefined ? 'shutdown' : status),
    async resume() {
      runnable();
      finished ??= finish();
      await finished;
      if (status === 'running') return;
      status = 'running';
      events.emit({ type: 'resumed' });
      cpu.start();
    },
    async pause() {
      runnable();
      if (status !== 'running') return;
      await cpu.stop();
      if (events.hasEnded) return;
      status = 'paused';
      events.emit({ type: 'paused' });
    },
    async quit() {
      if (released === undefined) {
        cpu.abandon();
        const wasOver = events.hasEnded;
        released = release();
        if (!wasOver) events.emit({ type: 'ended', reason: 'quit' });
      }
      await released;
    },
    onEvent: events.onEvent,
  };
  return {
    machine,
    async whilePresent(work) {
      present();
      return work();
    },
  };
}

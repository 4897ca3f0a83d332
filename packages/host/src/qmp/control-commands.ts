import { VouchsafeError } from '@vouchsafe/sev';
import type { MachineEvent, RunState, VirtualMachine } from '../launch/launcher.js';
import { FirmwareCommandError } from '../platform/firmware-error.js';
import { type QmpCommand, QmpRefusal, qmpCommand } from './commands.js';
import { qemuFirmwareText } from './firmware-texts.js';
import type { QmpVersion } from './messages.js';

/** What QEMU's control commands need of a machine. */
export type Runnable = VirtualMachine;

/** QEMU's commands to run, stop and end a machine (qemu qapi/run-state.json, qapi/control.json). */
export function controlCommandsOf(
  machine: Runnable,
  version: QmpVersion,
  quit: () => void,
): Readonly<Record<string, QmpCommand>> {
  return {
    'query-version': qmpCommand({}, () => version),
    'query-status': qmpCommand({}, async () => {
      const status = await machine.status();
      return { status, singlestep: false, running: status === 'running' };
    }),
    cont: qmpCommand({}, async () => {
      if ((await machine.status()) === 'shutdown') {
        throw new QmpRefusal('Resetting the Virtual Machine is required');
      }
      await explaining(() => machine.resume());
    }),
    stop: qmpCommand({}, async () => {
      if ((await machine.status()) === 'running') await machine.pause();
    }),
    quit: qmpCommand({}, quit),
  };
}

/** QEMU's event for what happened, where it has one. */
export function qmpEventOf(
  event: MachineEvent,
): { name: string; data?: Readonly<Record<string, unknown>> } | undefined {
  if (event.type === 'resumed') return { name: 'RESUME' };
  if (event.type === 'paused') return { name: 'STOP' };
  if (event.type !== 'ended') return undefined;
  const reasons = { shutdown: 'guest-shutdown', fault: 'guest-panic', quit: 'host-qmp-quit' } as const;
  return { name: 'SHUTDOWN', data: { guest: event.reason !== 'quit', reason: reasons[event.reason] } };
}

/** What a QEMU runs that was started to be asked, and not to run anything. */
export function emptyMachine(): Runnable {
  const listeners = new Set<(event: MachineEvent) => void>();
  let status: RunState = 'prelaunch';

  function become(next: RunState, event: MachineEvent): void {
    if (status === next) return;
    status = next;
    for (const listener of listeners) listener(event);
  }

  return {
    status: async () => status,
    resume: async () => become('running', { type: 'resumed' }),
    pause: async () => become('paused', { type: 'paused' }),
    quit: async () => become('shutdown', { type: 'ended', reason: 'quit' }),
    onEvent(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** QEMU ends when LAUNCH_FINISH fails; a server that stays says why. */
async function explaining(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (error instanceof FirmwareCommandError && error.command.startsWith('SNP_')) {
      const { command, status } = error;
      throw new QmpRefusal(qemuFirmwareText({ step: 'launch', command, status }));
    }
    throw error instanceof VouchsafeError ? new QmpRefusal(error.message) : error;
  }
}

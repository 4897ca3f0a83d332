import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { VouchsafeError } from '@vouchsafe/sev';
import { deferred } from '../deferred.js';
import type { LaunchConfiguration, MachineEvent, RunState } from '../launch/launcher.js';
import { softwareLauncher } from '../launch/software-launcher.js';
import type { SoftwareVirtualMachine } from '../launch/software-virtual-machine.js';
import { softwarePlatform } from '../platform/software.js';
import { type QmpCommand, QmpRefusal, qmpCommand } from './commands.js';
import type { QmpVersion } from './messages.js';
import { listenQmp } from './server.js';
import { runStatus, sevCommandsOf } from './sev-commands.js';

/** The version whose commands and texts are served. */
const servedVersion: QmpVersion = {
  qemu: { major: 7, minor: 2, micro: 0 },
  package: 'Vouchsafe software machine',
};

export interface ServeVirtualMachineOptions {
  readonly machine: HostMachine;
  readonly socketPath: string;
  /** What to launch. Without it the server answers as a QEMU without SEV guest: for query-sev-capabilities. */
  readonly configuration?: LaunchConfiguration;
}

/** A software machine's guest on a QMP socket, as `qemu-system-x86_64 -S -qmp unix:…` would have it. */
export interface ServedVirtualMachine {
  readonly socketPath: string;
  readonly machine?: SoftwareVirtualMachine;
  /** Resolves after `quit`, when guest and socket are gone. */
  readonly finished: Promise<void>;
  /** Does what `quit` does. */
  close(): Promise<void>;
}

/**
 * Launches a guest, stopped before its first instruction, and serves it until it is told to quit.
 * @throws as {@link Launcher.launch}, and UnavailableError when the socket cannot be made
 */
export async function serveVirtualMachine(
  options: ServeVirtualMachineOptions,
): Promise<ServedVirtualMachine> {
  const { machine: host, socketPath, configuration } = options;
  const machine = configuration && (await softwareLauncher(host).launch(configuration));
  const finished = deferred();
  let quitting: Promise<void> | undefined;
  /** Without a guest, what `cont` and `stop` make of the state. */
  let emptyState: RunState = 'prelaunch';

  const server = await listen().catch(async (error: unknown) => {
    await machine?.quit();
    throw error;
  });
  machine?.onEvent(announce);

  function listen() {
    const served = {
      platform: softwarePlatform(host),
      capabilities: host.capabilities,
      ...(machine === undefined ? {} : { machine }),
    };
    return listenQmp({
      socketPath,
      version: servedVersion,
      commands: { ...controlCommands, ...sevCommandsOf(served) },
    });
  }

  function announce(event: MachineEvent): void {
    if (event.type === 'resumed') server.emit('RESUME');
    if (event.type === 'paused') server.emit('STOP');
    if (event.type !== 'ended') return;
    const reasons = { shutdown: 'guest-shutdown', fault: 'guest-panic', quit: 'host-qmp-quit' } as const;
    server.emit('SHUTDOWN', { guest: event.reason !== 'quit', reason: reasons[event.reason] });
  }

  async function quit(): Promise<void> {
    if (machine === undefined) announce({ type: 'ended', reason: 'quit' });
    try {
      await machine?.quit();
    } finally {
      await server.close();
      finished.resolve();
    }
  }

  function close(): Promise<void> {
    quitting ??= quit();
    return quitting;
  }

  const state = async () => (machine === undefined ? emptyState : machine.status());

  const controlCommands: Readonly<Record<string, QmpCommand>> = {
    'query-version': qmpCommand({}, () => servedVersion),
    'query-status': qmpCommand({}, async () => runStatus(await state())),
    cont: qmpCommand({}, async () => {
      if ((await state()) === 'shutdown') throw new QmpRefusal('Resetting the Virtual Machine is required');
      if (machine !== undefined) return explaining(() => machine.resume());
      if (emptyState !== 'running') announce({ type: 'resumed' });
      emptyState = 'running';
    }),
    stop: qmpCommand({}, async () => {
      if (machine !== undefined) return (await state()) === 'running' ? machine.pause() : undefined;
      if (emptyState === 'running') announce({ type: 'paused' });
      emptyState = 'paused';
    }),
    quit: qmpCommand({}, () => {
      close().catch(() => undefined);
    }),
  };

  return {
    socketPath,
    ...(machine === undefined ? {} : { machine }),
    finished: finished.promise,
    close,
  };
}

/** QEMU ends when LAUNCH_FINISH fails; a server that stays says why. */
async function explaining(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw error instanceof VouchsafeError ? new QmpRefusal(error.message) : error;
  }
}

import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { deferred } from '../deferred.js';
import type { LaunchConfiguration, SnpLaunchConfiguration, VirtualMachine } from '../launch/launcher.js';
import { softwareLauncher } from '../launch/software-launcher.js';
import { softwarePlatform } from '../platform/software.js';
import { controlCommandsOf, emptyMachine, qmpEventOf } from './control-commands.js';
import type { QmpVersion } from './messages.js';
import { listenQmp } from './server.js';
import { type ServedMachine, sevCommandsOf } from './sev-commands.js';
import { snpCommandsOf } from './snp-commands.js';

/** The versions whose commands and texts are served; SEV-SNP came with 9.1. */
const servedVersion = (major: number, minor: number): QmpVersion => ({
  qemu: { major, minor, micro: 0 },
  package: 'Vouchsafe software machine',
});

export interface ServeVirtualMachineOptions {
  readonly machine: HostMachine;
  readonly socketPath: string;
  /** What to launch. Without it the server answers as a QEMU without SEV guest: for query-sev-capabilities. */
  readonly configuration?: LaunchConfiguration | SnpLaunchConfiguration;
}

/** A software machine's guest on a QMP socket, as `qemu-system-x86_64 -S -qmp unix:…` would have it. */
export interface ServedVirtualMachine {
  readonly socketPath: string;
  readonly machine?: VirtualMachine;
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
  const { launched, version, sevCommands } = await launch(host, configuration);
  const machine = launched ?? emptyMachine();
  const finished = deferred();
  let quitting: Promise<void> | undefined;

  const commands = {
    ...controlCommandsOf(machine, version, () => void close().catch(() => undefined)),
    ...sevCommands,
  };
  const server = await listenQmp({ socketPath, version, commands }).catch(async (error: unknown) => {
    await machine.quit();
    throw error;
  });
  machine.onEvent((event) => {
    const known = qmpEventOf(event);
    if (known !== undefined) server.emit(known.name, known.data);
  });

  async function quit(): Promise<void> {
    try {
      await machine.quit();
    } finally {
      await server.close();
      finished.resolve();
    }
  }

  function close(): Promise<void> {
    quitting ??= quit();
    return quitting;
  }

  return {
    socketPath,
    ...(launched === undefined ? {} : { machine: launched }),
    finished: finished.promise,
    close,
  };
}

async function launch(host: HostMachine, configuration: ServeVirtualMachineOptions['configuration']) {
  const served: ServedMachine = { platform: softwarePlatform(host), capabilities: host.capabilities };
  const launcher = softwareLauncher(host);
  if (configuration?.mode === 'snp') {
    const launched = await launcher.launchSnp(configuration);
    return { launched, version: servedVersion(9, 1), sevCommands: snpCommandsOf(served, launched) };
  }
  const version = servedVersion(7, 2);
  if (configuration === undefined) return { version, sevCommands: sevCommandsOf(served) };
  const launched = await launcher.launch(configuration);
  return { launched, version, sevCommands: sevCommandsOf({ ...served, machine: launched }) };
}

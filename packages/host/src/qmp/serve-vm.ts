import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { deferred } from '../deferred.js';
import type { LaunchConfiguration } from '../launch/launcher.js';
import { softwareLauncher } from '../launch/software-launcher.js';
import type { SoftwareVirtualMachine } from '../launch/software-virtual-machine.js';
import { softwarePlatform } from '../platform/software.js';
import { controlCommandsOf, emptyMachine, qmpEventOf } from './control-commands.js';
import type { QmpVersion } from './messages.js';
import { listenQmp } from './server.js';
import { sevCommandsOf } from './sev-commands.js';

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
  const launched = configuration && (await softwareLauncher(host).launch(configuration));
  const machine = launched ?? emptyMachine();
  const finished = deferred();
  let quitting: Promise<void> | undefined;

  const commands = {
    ...controlCommandsOf(machine, servedVersion, () => void close().catch(() => undefined)),
    ...sevCommandsOf({
      platform: softwarePlatform(host),
      capabilities: host.capabilities,
      ...(launched === undefined ? {} : { machine: launched }),
    }),
  };
  const server = await listenQmp({ socketPath, version: servedVersion, commands }).catch(
    async (error: unknown) => {
      await machine.quit();
      throw error;
    },
  );
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

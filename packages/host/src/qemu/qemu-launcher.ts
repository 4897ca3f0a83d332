import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toBase64 } from '@vouchsafe/sev';
import { requireLaunchable, requireSnpLaunchable } from '../launch/configuration.js';
import type {
  CommonLaunchConfiguration,
  ConfidentialMachine,
  LaunchConfiguration,
  Launcher,
  SnpLaunchConfiguration,
  SnpLauncher,
  SnpMachine,
} from '../launch/launcher.js';
import { connectQmp } from '../qmp/client.js';
import { probeArguments, type QemuFiles, qemuArguments, qemuSnpArguments } from './qemu-arguments.js';
import {
  type QemuMachineOptions,
  qemuMachine,
  qemuSnpMachine,
  querySevCapabilities,
  type SevCapabilities,
} from './qemu-machine.js';
import { connectWhenReady, qemuProgram, type StartQemu } from './qemu-process.js';

export interface QemuLauncherOptions {
  /** Name or path of the program: `qemu-system-x86_64`. */
  readonly program?: string;
  /** Starts it in another way. */
  readonly start?: StartQemu;
  /** Arguments beside ours: disks, network, a console. */
  readonly moreArguments?: readonly string[];
  /** Milliseconds until QEMU must have measured the guest and answer: 60 seconds. */
  readonly timeout?: number;
  /** Where a private folder is made for each launch; short, because unix sockets lie there. */
  readonly temporaryFolder?: string;
}

export interface QemuLauncher extends Launcher, SnpLauncher {
  readonly backend: 'qemu';
  /** What a guest owner needs of this host before a launch. @throws UnavailableError when it has no SEV */
  capabilities(): Promise<SevCapabilities>;
}

const defaultMemory = 2 * 1024 ** 3;

/** What every guest of this host is told. */
type HostFacts = Omit<Parameters<typeof qemuArguments>[0], 'policy'>;

/** Launches confidential machines with QEMU and KVM, on a host that has SEV. */
export function qemuLauncher(options: QemuLauncherOptions = {}): QemuLauncher {
  const { moreArguments = [], timeout = 60_000, temporaryFolder = tmpdir() } = options;
  const start = options.start ?? qemuProgram(options.program);

  async function inFolder<T>(work: (folder: string, remove: () => Promise<void>) => Promise<T>): Promise<T> {
    const folder = await mkdtemp(join(temporaryFolder, 'vouchsafe-'));
    const remove = () => rm(folder, { recursive: true, force: true });
    try {
      return await work(folder, remove);
    } catch (error) {
      await remove();
      throw error;
    }
  }

  async function run(commandLine: readonly string[], socket: string) {
    const process = await start(commandLine);
    try {
      return { process, client: await connectWhenReady(process, socket, timeout) };
    } catch (error) {
      process.kill();
      await process.ended;
      throw error;
    }
  }

  function capabilities(): Promise<SevCapabilities> {
    return inFolder(async (folder, remove) => {
      const socket = join(folder, 'qmp');
      const { process, client } = await run(probeArguments(socket), socket);
      try {
        return await querySevCapabilities(client);
      } finally {
        await qemuMachine({ client }).quit();
        process.kill();
        await process.ended;
        await remove();
      }
    });
  }

  /** Starts QEMU with what the launch needs in a folder of its own, which goes when QEMU does. */
  function boot(
    configuration: CommonLaunchConfiguration,
    argumentsOf: (guest: HostFacts, files: QemuFiles) => readonly string[],
  ): Promise<Required<QemuMachineOptions>> {
    const { vcpus, vcpuSignature, memory = defaultMemory } = configuration;
    return inFolder(async (folder, remove) => {
      const { cBitPosition, reducedPhysBits } = await capabilities();
      const files = await writeFiles(configuration, folder);
      const guest = { vcpus, vcpuSignature, memory, cBitPosition, reducedPhysBits };
      const { process, client } = await run(
        [...argumentsOf(guest, files), ...moreArguments],
        files.qmpSocket,
      );
      const release = async () => {
        const killer = setTimeout(() => process.kill(), timeout);
        await process.ended;
        clearTimeout(killer);
        await remove();
      };
      return { client, release, ended: process.ended };
    });
  }

  async function launch(configuration: LaunchConfiguration): Promise<ConfidentialMachine> {
    const { policy } = requireLaunchable(configuration);
    return qemuMachine(
      await boot(configuration, (guest, files) => qemuArguments({ ...guest, policy }, files)),
    );
  }

  async function launchSnp(configuration: SnpLaunchConfiguration): Promise<SnpMachine> {
    const owner = requireSnpLaunchable(configuration);
    return qemuSnpMachine(
      await boot(configuration, (guest, files) => qemuSnpArguments({ ...owner, ...guest }, files)),
    );
  }

  return { backend: 'qemu', capabilities, launch, launchSnp };
}

export interface ConnectedMachine extends ConfidentialMachine {
  /** Lets go of the machine, which goes on as it is. */
  disconnect(): Promise<void>;
}

/** A machine that someone else's QEMU runs, or a software machine that is served as one. */
export async function connectConfidentialMachine(socketPath: string): Promise<ConnectedMachine> {
  const client = await connectQmp(socketPath);
  return { ...qemuMachine({ client }), disconnect: () => client.close() };
}

/** Writes what QEMU reads into the launch's folder. Nothing of it is secret: the session's keys are wrapped. */
async function writeFiles(
  { firmware, directBoot, channel }: CommonLaunchConfiguration & Pick<LaunchConfiguration, 'channel'>,
  folder: string,
): Promise<QemuFiles> {
  const write = async (name: string, content: Uint8Array | string) => {
    const path = join(folder, name);
    await writeFile(path, content, { mode: 0o600 });
    return path;
  };
  return {
    qmpSocket: join(folder, 'qmp'),
    firmware: await write('firmware.fd', firmware),
    ...(channel === undefined
      ? {}
      : {
          channel: {
            godhCertificate: await write('godh.b64', toBase64(channel.godhCertificate)),
            session: await write('session.b64', toBase64(channel.session)),
          },
        }),
    ...(directBoot === undefined
      ? {}
      : {
          directBoot: {
            kernel: await write('kernel', directBoot.kernel),
            ...(directBoot.initrd === undefined ? {} : { initrd: await write('initrd', directBoot.initrd) }),
            ...(directBoot.commandLine === undefined ? {} : { commandLine: directBoot.commandLine }),
          },
        }),
  };
}

import {
  type ConfidentialMachine,
  connectGuestOwner,
  type GuestOwnerClient,
  type Launcher,
  type Platform,
  qemuLauncher,
  softwareLauncher,
} from '@vouchsafe/host';
import type { LaunchRequest } from '@vouchsafe/protocol';
import { InvalidArgumentError, toHex, UnavailableError } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { choice, grouped, hex, path, repeated, text, wideNumber, withDefault } from '../../frame/options.js';
import { openProcessor, type ProcessorInputs, processorOptions } from '../platform/processor.js';
import { untilStopped } from '../stay.js';
import { machineOptions, openMachine, readConfiguration } from './machine.js';
import { printable } from './serve.js';
import { launchSnp } from './snp-launch.js';
import { requireFitting, snpOptions } from './snp-options.js';

export const launch = command({
  description:
    'Launches a guest. For an owner of SEV or SEV-ES (broker serve) it asks for a session, loads and measures the guest, reports the ' +
    'measurement, injects what the owner answers, and lets the guest run. SEV-SNP (--mode snp) asks nobody: the guest ' +
    'proves itself. On the software machine it ends when the guest ' +
    'is up; with --qemu, on a host that has SEV, when the guest ends.',
  arguments: {},
  options: {
    ...machineOptions,
    software: processorOptions.software,
    qemu: text('--qemu <program>', 'launch with QEMU and KVM on this host: qemu-system-x86_64'),
    qemuArg: repeated(text('--qemu-arg <arg>', 'one more argument for QEMU: disks, network')),
    device: processorOptions.device,
    owner: text(
      '--owner <address>',
      'the guest owner: http://HOST:PORT or unix:PATH; SEV and SEV-ES need it',
    ),
    case: withDefault(
      choice(
        '--case <letter>',
        'who asks the key service for the chip’s endorsement, the owner (A) or this host (B)',
        ['A', 'B'] as const,
      ),
      'B',
    ),
    authority: processorOptions.authority,
    kds: text('--kds <url>', 'case B: the key service to ask'),
    ...snpOptions,
    ...grouped('SEV-SNP', {
      policy: wideNumber('--policy <n>', 'guest policy (default: 0x30000); of SEV the owner says it'),
      report: path('--report <file>', 'software machine: write the report that the guest asks for'),
      reportData: hex('--report-data <hex>', 'its REPORT_DATA: 64 bytes', 64),
      reportCerts: path('--report-certs <file>', 'write the certificate table that the guest got with it'),
    }),
  },
  examples: [
    {
      line: 'host launch --software .vouchsafe/processor --owner http://127.0.0.1:8443 --kernel vmlinuz --disk disk.img',
      explains: 'the owner chooses the policy; the guest unlocks disk.img',
    },
    {
      line: 'host launch --qemu qemu-system-x86_64 --firmware OVMF.fd --owner https://owner.example --vcpu-type EPYC-Milan',
      explains: 'on a real host',
    },
    {
      line: 'host launch --mode snp --software .vouchsafe/processor --kernel vmlinuz --report report.bin',
      explains: 'a SEV-SNP guest; its report is for report verify',
    },
  ],
  async run(input, { io, progress }): Promise<Result> {
    const { policy, report, reportData, reportCerts } = input;
    const ofSnp = { '--report': report, '--report-data': reportData, '--report-certs': reportCerts };
    requireFitting(input, { '--owner': input.owner, '--kds': input.kds }, { '--policy': policy, ...ofSnp });
    if (input.mode === 'snp') {
      requireOneBackend(input);
      if (input.qemu !== undefined) refuseGiven(ofSnp, 'a guest under QEMU is asked inside: guest report');
      progress.step('launching');
      return launchSnp(input, io);
    }
    const owner = connectGuestOwner(requireOwner(input.owner));
    requireOneBackend(input);
    progress.step('asking the owner for a session');
    const bundle = await owner.openSession(await describePlatform(input));
    const backend = await openBackend(input);
    try {
      progress.step('launching');
      const guest = await backend.launcher.launch({
        ...(await readConfiguration(input, io)),
        mode: bundle.mode,
        policy: bundle.policy,
        channel: { godhCertificate: bundle.godhCertificate, session: bundle.session },
      });
      try {
        const released = await attest(guest, owner, bundle.launchId);
        const ended = endOf(guest);
        const console = backend.launcher.backend === 'software' ? await runUntilUp(guest) : await run(guest);
        return {
          exit: 0,
          json: { launchId: bundle.launchId, mode: bundle.mode, policy: bundle.policy, ...released, console },
          render(screen) {
            const { secretBytes } = released;
            screen.line(
              `${screen.paint('good', 'accepted')}: the owner released ${secretBytes} encrypted bytes for this ${bundle.mode} guest`,
            );
            for (const line of console) screen.line(`guest: ${line}`);
          },
          async stay(stop) {
            if (backend.launcher.backend === 'qemu') {
              await Promise.race([ended, untilStopped(stop, async () => undefined)]);
            }
            await guest.quit();
            await backend.close();
          },
        };
      } catch (error) {
        await guest.quit();
        throw error;
      }
    } catch (error) {
      await backend.close();
      throw error;
    }
  },
});

function refuseGiven(options: Readonly<Record<string, unknown>>, hint: string): void {
  const given = Object.entries(options).find(([, value]) => value !== undefined)?.[0];
  if (given !== undefined) throw new InvalidArgumentError(given, 'it needs the software machine', { hint });
}

function requireOwner(owner: string | undefined): string {
  if (owner !== undefined) return owner;
  throw new InvalidArgumentError('--owner', 'it has to be given', {
    hint: 'name who says what may be launched (broker serve), or launch a SEV-SNP guest with --mode snp',
  });
}

function requireOneBackend(
  input: Pick<Parameters<typeof openBackend>[0], 'software' | 'qemu' | 'firmware'>,
): void {
  const { software, qemu, firmware } = input;
  if ((software === undefined) === (qemu === undefined)) {
    throw new InvalidArgumentError('--software', 'give either it or --qemu, to say what launches');
  }
  if (qemu !== undefined && firmware === undefined) {
    throw new InvalidArgumentError('--firmware', 'QEMU needs an image: OVMF built for SEV');
  }
}

interface Backend {
  readonly launcher: Launcher;
  close(): Promise<void>;
}

async function openBackend(input: {
  readonly software: string | undefined;
  readonly qemu: string | undefined;
  readonly qemuArg: readonly string[];
  readonly firmware: string | undefined;
  readonly generation: ProcessorInputs['generation'];
  readonly disk: string | undefined;
}): Promise<Backend> {
  const { software, qemu } = input;
  if (software !== undefined) {
    const machine = await openMachine({ ...input, software });
    return { launcher: softwareLauncher(machine.host), close: () => machine.close() };
  }
  const launcher = qemuLauncher({
    ...(qemu === undefined ? {} : { program: qemu }),
    moreArguments: input.qemuArg,
  });
  return { launcher, close: async () => undefined };
}

/** Reports the measurement to the owner, and injects the packet that it answers. */
async function attest(guest: ConfidentialMachine, owner: GuestOwnerClient, launchId: string) {
  const { apiMajor, apiMinor, buildId, policy } = await guest.information();
  const measurement = await guest.launchMeasurement();
  const packet = await owner.reportMeasurement({
    launchId,
    measurement,
    apiMajor,
    apiMinor,
    buildId,
    policy,
  });
  await guest.injectSecret(packet);
  return { measurement: toHex(measurement), secretBytes: packet.payload.length };
}

/** What the owner is told of the platform: from the processor itself, with the endorsement in case B. */
async function describePlatform(
  input: ProcessorInputs & {
    readonly case: 'A' | 'B';
    readonly kds: string | undefined;
  },
): Promise<LaunchRequest> {
  const processor = await openProcessor(input);
  try {
    const common = await platformFacts(processor.platform);
    // A chip is known to its key service from its manufacture on; a software chip from here on.
    if (input.case === 'A' && input.software !== undefined) await processor.endorsement(undefined);
    if (input.case === 'A') return { case: 'A', ...common, chipId: await processor.platform.chipId() };
    const endorsed = await processor.endorsement(input.kds);
    const certificateChain = common.certificateChain.slice();
    certificateChain.set(endorsed.cek, certificateChain.length - endorsed.cek.length);
    return { case: 'B', ...common, certificateChain, certificateAuthority: endorsed.askArk };
  } finally {
    await processor.close();
  }
}

async function platformFacts(platform: Platform) {
  const { apiMajor, apiMinor, build } = await platform.status();
  const { pdh, chain } = await platform.export();
  return { apiMajor, apiMinor, buildId: build, pdh, certificateChain: chain };
}

/** Lets the guest run until it says that it is up. @returns what it printed */
async function runUntilUp(guest: ConfidentialMachine): Promise<string[]> {
  const lines: string[] = [];
  const up = new Promise<void>((resolve, reject) => {
    guest.onEvent((event) => {
      if (event.type === 'console') lines.push(printable(event.line));
      if (event.type === 'booted') resolve();
      if (event.type === 'ended')
        reject(new UnavailableError('guest', `it ended before it was up: ${event.detail ?? event.reason}`));
    });
  });
  up.catch(() => undefined);
  await guest.resume();
  await up;
  return lines;
}

/** QEMU's guest has a console of its own. */
async function run(guest: ConfidentialMachine): Promise<string[]> {
  await guest.resume();
  return [];
}

function endOf(guest: ConfidentialMachine): Promise<void> {
  return new Promise((resolve) => {
    guest.onEvent(({ type }) => {
      if (type === 'ended') resolve();
    });
  });
}

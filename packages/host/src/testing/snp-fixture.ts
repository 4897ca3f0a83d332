import {
  createSoftwareMachine,
  type GuestProgram,
  machineProfiles,
  manufactureChip,
  type SoftwareMachineOptions,
  vcekEndorsementRequest,
} from '@vouchsafe/firmware';
import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { type BootedGuest, buildGuestFirmware, guestFirmwareProgram } from '@vouchsafe/guest';
import {
  type Generation,
  type ReportExpectations,
  systemRandom,
  UnavailableError,
  type VouchsafeError,
  vcpuSignatureOf,
  verifyReport,
} from '@vouchsafe/sev';
import { onTestFinished } from 'vitest';
import { snpAuthority } from '../../../kds/src/testing/snp-chip.js';
import { deferred } from '../deferred.js';
import type { MachineEvent, SnpLaunchConfiguration, SnpLauncher, SnpMachine } from '../launch/launcher.js';
import { softwareLauncher } from '../launch/software-launcher.js';
import type { SoftwareSnpMachine } from '../snp/software-machine.js';

const mebibyte = 1024 * 1024;
export type SnpGeneration = Extract<Generation, 'milan' | 'genoa' | 'turin'>;
const lines = { milan: 'Milan', genoa: 'Genoa', turin: 'Turin' } as const;

export const snpConfiguration: SnpLaunchConfiguration = {
  mode: 'snp',
  policy: 0x30000n,
  firmware: buildGuestFirmware(),
  vcpus: 1,
  vcpuSignature: vcpuSignatureOf('EPYC-Milan'),
  memory: 2 * mebibyte,
};

/** A software machine whose chip a development authority endorses; gone when the test is over. */
export function snpMachine(
  generation: SnpGeneration = 'milan',
  options: Partial<Pick<SoftwareMachineOptions, 'memory' | 'profile'>> = {},
) {
  const chip = manufactureChip({ random: systemRandom, generation });
  const failures: unknown[] = [];
  const machine = createSoftwareMachine({
    chip,
    random: systemRandom,
    memory: 16 * mebibyte,
    guestFailed: (error) => failures.push(error),
    ...options,
  });
  onTestFinished(() => machine.close());
  const line = lines[generation];
  const tcb = machineProfiles[generation].snp!.currentTcb;

  return {
    machine,
    host: machine.host,
    chip,
    tcb,
    /** What programs of guests threw. */
    failures,
    /** Verifies a report of this chip under the root of its own authority. */
    async verify(report: Uint8Array, expectations: ReportExpectations = {}) {
      const { snp } = await snpAuthority(line);
      const vek = await snp.endorseVcek(vcekEndorsementRequest(chip, tcb));
      const evidence = { report, vek, certificates: [snp.ask, snp.ark] };
      const options = {
        roots: [snp.root],
        at: Date.parse('2031-03-01T13:00:00Z'),
        revocation: 'skip',
      } as const;
      return verifyReport(evidence, { ...options, expectations });
    },
  };
}

/** A guest that was let go, and what becomes of it. */
export interface RunningGuest<T, M extends SnpMachine = SnpMachine> {
  readonly guest: M;
  /** What `init` gave. Rejects when the guest gives up or ends first, with why. */
  readonly result: Promise<T>;
  readonly events: readonly MachineEvent[];
}

type Machine = {
  readonly machine: { insertGuest(program: GuestProgram): void };
  readonly host: HostMachine;
};

/** Launches a guest of the project's firmware on the software machine, and lets it run `init`. */
export function runGuest<T>(
  machine: Machine,
  init: (guest: BootedGuest) => Promise<T>,
  changes?: Partial<SnpLaunchConfiguration>,
): Promise<RunningGuest<T, SoftwareSnpMachine>>;
/** The same with another launcher. */
export function runGuest<T>(
  machine: Machine,
  init: (guest: BootedGuest) => Promise<T>,
  changes: Partial<SnpLaunchConfiguration>,
  launcher: SnpLauncher,
): Promise<RunningGuest<T>>;
export async function runGuest<T>(
  { machine, host }: Machine,
  init: (guest: BootedGuest) => Promise<T>,
  changes: Partial<SnpLaunchConfiguration> = {},
  launcher: SnpLauncher = softwareLauncher(host),
): Promise<RunningGuest<T>> {
  const found = deferred<T>();
  const configuration = { ...snpConfiguration, ...changes };
  machine.insertGuest(
    guestFirmwareProgram({
      image: configuration.firmware,
      init: async (guest) => found.resolve(await init(guest)),
      onFailure: (error: VouchsafeError) => found.reject(error),
    }),
  );
  const guest = await launcher.launchSnp(configuration);
  onTestFinished(() => guest.quit());
  const events: MachineEvent[] = [];
  guest.onEvent((event) => {
    events.push(event);
    if (event.type === 'ended') found.reject(new UnavailableError('guest', event.detail ?? event.reason));
  });
  await guest.resume();
  return { guest, result: found.promise, events };
}

/** Launches, runs `init`, quits. */
export async function guestResult<T>(
  machine: Machine,
  init: (guest: BootedGuest) => Promise<T>,
  changes: Partial<SnpLaunchConfiguration> = {},
): Promise<T> {
  const { guest, result } = await runGuest(machine, init, changes);
  try {
    return await result;
  } finally {
    await guest.quit();
  }
}

export const reportOver =
  (reportData: Uint8Array) =>
  async ({ attestation }: BootedGuest) => {
    if (attestation === undefined) throw new Error('no guest of SEV-SNP');
    return attestation.report({ reportData });
  };

/** Pages of all of memory that are not the hypervisor's. */
export async function assignedPages(host: HostMachine): Promise<number[]> {
  const assigned: number[] = [];
  for (let address = 0; address < host.memory.size; address += 0x1000) {
    if ((await host.reverseMap.read(address)).assigned) assigned.push(address);
  }
  return assigned;
}

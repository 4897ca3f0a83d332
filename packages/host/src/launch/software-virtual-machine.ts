import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { UnavailableError } from '@vouchsafe/sev';
import { bootDevice } from './boot-device.js';
import type { GuestMemory } from './guest-memory.js';
import type { ConfidentialMachine, LaunchConfiguration, MachineEvent, RunState } from './launcher.js';
import { virtualCpu } from './virtual-cpu.js';

/** A guest of the software machine, with what its host knows of it besides. */
export interface SoftwareVirtualMachine extends ConfidentialMachine {
  readonly handle: number;
  readonly asid: number;
  readonly memory: GuestMemory;
  /** SEV-ES: where the VMSAs lie in the host's memory, the boot CPU's first. */
  readonly vmsaAddresses: readonly number[];
}

/** What the launch hands over: the measured guest, and the commands that are still to come. */
export interface LaunchedGuest
  extends Pick<ConfidentialMachine, 'information' | 'injectSecret' | 'attestationReport'> {
  readonly machine: HostMachine;
  readonly memory: GuestMemory;
  readonly handle: number;
  readonly asid: number;
  readonly vmsaAddresses: readonly number[];
  readonly directBoot: LaunchConfiguration['directBoot'];
  readonly measurement: Uint8Array;
  finish(): Promise<void>;
  release(): Promise<void>;
}

/** Runs a launched guest: LAUNCH_FINISH at the first resume, then the loop of VMRUN until it ends. */
export function softwareVirtualMachine(guest: LaunchedGuest): SoftwareVirtualMachine {
  const { machine, memory, handle, asid, vmsaAddresses, directBoot, measurement } = guest;
  const listeners = new Set<(event: MachineEvent) => void>();
  let status: RunState = 'prelaunch';
  let finished: Promise<void> | undefined;
  let released: Promise<void> | undefined;
  const hasEnded = () => status === 'shutdown';

  const emit = (event: MachineEvent) => {
    for (const listener of listeners) listener(event);
  };
  const device = bootDevice({
    machine,
    memory,
    directBoot,
    onLine: (line) => emit({ type: 'console', line }),
    onBooted: () => emit({ type: 'booted' }),
  });
  const [vmsaAddress] = vmsaAddresses;
  const cpu = virtualCpu({
    machine,
    memory,
    device,
    asid,
    ...(vmsaAddress === undefined ? {} : { vmsaAddress }),
    onEnd({ ended, detail }) {
      status = 'shutdown';
      emit({ type: 'ended', reason: ended, detail });
    },
  });

  async function requirePresent(): Promise<void> {
    if (released !== undefined) throw new UnavailableError('virtual machine', 'it has been quit');
  }

  async function requireRunnable(): Promise<void> {
    await requirePresent();
    if (hasEnded()) {
      throw new UnavailableError('virtual machine', 'its guest has ended', {
        hint: 'quit it and launch a new one',
      });
    }
  }

  return {
    handle,
    asid,
    memory,
    vmsaAddresses,
    status: async () => status,
    information: () => requirePresent().then(guest.information),
    launchMeasurement: () => requirePresent().then(() => measurement.slice()),
    injectSecret: (packet) => requirePresent().then(() => guest.injectSecret(packet)),
    attestationReport: (mnonce) => requirePresent().then(() => guest.attestationReport(mnonce)),
    async resume() {
      await requireRunnable();
      finished ??= guest.finish();
      await finished;
      if (status === 'running') return;
      status = 'running';
      emit({ type: 'resumed' });
      cpu.start();
    },
    async pause() {
      await requireRunnable();
      if (status !== 'running') return;
      await cpu.stop();
      if (hasEnded()) return;
      status = 'paused';
      emit({ type: 'paused' });
    },
    async quit() {
      if (released === undefined) {
        cpu.abandon();
        const wasOver = hasEnded();
        status = 'shutdown';
        released = guest.release();
        if (!wasOver) emit({ type: 'ended', reason: 'quit' });
      }
      await released;
    },
    onEvent(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

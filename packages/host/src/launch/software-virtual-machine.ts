import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { bootCpuEntry } from './boot-cpu.js';
import { bootDevice } from './boot-device.js';
import type { GuestMemory } from './guest-memory.js';
import type { ConfidentialMachine, LaunchConfiguration } from './launcher.js';
import { machineEvents, runControl } from './run-control.js';
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
  const events = machineEvents();
  const device = bootDevice({
    machine,
    memory,
    directBoot,
    onLine: (line) => events.emit({ type: 'console', line }),
    onBooted: () => events.emit({ type: 'booted' }),
  });
  const [vmsaAddress] = vmsaAddresses;
  const boot = { machine, memory, device, asid, ...(vmsaAddress === undefined ? {} : { vmsaAddress }) };
  const cpu = virtualCpu({ enter: bootCpuEntry(boot), onEnd: events.end });
  const { finish, release } = guest;
  const control = runControl(events, { cpu, finish, release });
  const { whilePresent } = control;

  return {
    ...control.machine,
    handle,
    asid,
    memory,
    vmsaAddresses,
    information: () => whilePresent(guest.information),
    launchMeasurement: () => whilePresent(async () => measurement.slice()),
    injectSecret: (packet) => whilePresent(() => guest.injectSecret(packet)),
    attestationReport: (mnonce) => whilePresent(() => guest.attestationReport(mnonce)),
  };
}

import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { bootDevice } from '../launch/boot-device.js';
import type { GuestMemory } from '../launch/guest-memory.js';
import type { SnpInformation, SnpLaunchConfiguration, SnpMachine } from '../launch/launcher.js';
import { machineEvents, runControl } from '../launch/run-control.js';
import { guestRequestRelay } from './exits/guest-requests.js';
import type { GuestPageOwner } from './guest-pages.js';
import { snpVcpus } from './vcpus.js';

/** A SEV-SNP guest of the software machine, with what its host knows of it besides. */
export interface SoftwareSnpMachine extends SnpMachine {
  readonly asid: number;
  /** System physical address of its context page, by which the firmware knows the guest. */
  readonly gctxAddress: bigint;
  readonly memory: GuestMemory;
  /** Where the VMSAs of the launch lie in the host's memory, the boot CPU's first. */
  readonly vmsaAddresses: readonly number[];
}

/** What the launch hands over. */
export interface LaunchedSnpGuest {
  readonly machine: HostMachine;
  readonly memory: GuestMemory;
  readonly pages: GuestPageOwner;
  readonly asid: number;
  readonly gctxAddress: bigint;
  readonly vmsaAddresses: readonly number[];
  readonly configuration: SnpLaunchConfiguration;
  information(): Promise<SnpInformation>;
  finish(): Promise<void>;
  release(): Promise<void>;
}

/** Runs a launched guest: VMSAs and LAUNCH_FINISH at the first resume, then the loops of VMRUN until it ends. */
export function softwareSnpMachine(guest: LaunchedSnpGuest): SoftwareSnpMachine {
  const { machine, memory, pages, asid, gctxAddress, vmsaAddresses, configuration } = guest;
  const { directBoot, certificateTable, guestFeatures = 1n } = configuration;
  const events = machineEvents();
  const device = bootDevice({
    machine,
    memory,
    directBoot,
    onLine: (line) => events.emit({ type: 'console', line }),
    onBooted: () => events.emit({ type: 'booted' }),
  });
  const table = certificateTable === undefined ? {} : { certificateTable };
  const requests = guestRequestRelay({ machine, memory, gctxAddress, ...table });
  const cpu = snpVcpus({
    machine,
    memory,
    asid,
    vmsaAddresses,
    guestFeatures,
    exits: { machine, memory, pages, device, requests },
    onEnd: events.end,
  });
  const { finish, release } = guest;
  const control = runControl(events, { cpu, finish, release });
  return {
    ...control.machine,
    asid,
    gctxAddress,
    memory,
    vmsaAddresses,
    information: () => control.whilePresent(guest.information),
  };
}

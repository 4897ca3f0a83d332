import type { HostMachine, SaveArea, VirtualMachineControl } from '@vouchsafe/firmware/mailbox';
import { bootDevicePort } from '@vouchsafe/protocol';
import type { BootDevice } from './boot-device.js';
import type { GuestMemory } from './guest-memory.js';
import type { VirtualCpuOptions } from './virtual-cpu.js';
import { fault, serveVmgexit } from './vmgexit.js';

export interface BootCpuOptions {
  readonly machine: HostMachine;
  readonly memory: GuestMemory;
  readonly device: BootDevice;
  readonly asid: number;
  /** SEV-ES: system physical address of its VMSA. */
  readonly vmsaAddress?: number;
}

/** VMRUN of the boot vCPU of a SEV or SEV-ES guest, and what its exits ask for. */
export function bootCpuEntry(options: BootCpuOptions): VirtualCpuOptions['enter'] {
  const { machine, memory, device, asid, vmsaAddress } = options;
  let saveArea: SaveArea | undefined;

  return async () => {
    const control: VirtualMachineControl = {
      asid,
      nestedPages: memory.nestedPages,
      ...(vmsaAddress === undefined ? {} : { vmsaAddress }),
      ...(saveArea === undefined ? {} : { saveArea }),
    };
    const exit = await machine.enter(control);
    return async () => {
      switch (exit.reason) {
        case 'vmgexit':
          return serveVmgexit(machine, memory, device, exit.ghcbGuestAddress);
        case 'ioio':
          saveArea = exit.saveArea;
          if (exit.port === bootDevicePort) await device.serve(exit.value);
          return 'enter-again';
        case 'hlt':
          return 'halted';
        case 'shutdown':
          return { ended: 'shutdown', detail: 'triple fault' };
        case 'npf':
          return fault(`no memory at guest address 0x${exit.guestAddress.toString(16)}`);
        case 'msr-protocol':
          return fault('the guest wants a protocol that only SEV-SNP guests need');
        case 'invalid':
          return fault(exit.detail);
      }
    };
  };
}

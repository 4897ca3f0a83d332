import type { HostMachine, SaveArea, VirtualMachineControl } from '@vouchsafe/firmware/mailbox';
import { bootDevicePort } from '@vouchsafe/protocol';
import type { BootDevice } from './boot-device.js';
import type { GuestMemory } from './guest-memory.js';
import { type Served, serveVmgexit } from './vmgexit.js';

/** The boot vCPU of one guest, as its hypervisor runs it: VMRUN, serve the exit, VMRUN again. */
export interface VirtualCpu {
  /** Lets it run; does nothing when it runs or has ended. */
  start(): void;
  /** Resolves when it is out of the guest and stays out. */
  stop(): Promise<void>;
  /** Keeps it from being entered again, without waiting for it. */
  abandon(): void;
}

export interface VirtualCpuOptions {
  readonly machine: HostMachine;
  readonly memory: GuestMemory;
  readonly device: BootDevice;
  readonly asid: number;
  /** SEV-ES: system physical address of its VMSA. */
  readonly vmsaAddress?: number;
  onEnd(end: Extract<Served, object>): void;
}

export function virtualCpu(options: VirtualCpuOptions): VirtualCpu {
  const { machine, memory, device, asid, vmsaAddress, onEnd } = options;
  let wanted = false;
  let abandoned = false;
  let ended = false;
  let halted = false;
  let running: Promise<void> | undefined;
  let saveArea: SaveArea | undefined;

  async function runOnce(): Promise<Served> {
    const control: VirtualMachineControl = {
      asid,
      nestedPages: memory.nestedPages,
      ...(vmsaAddress === undefined ? {} : { vmsaAddress }),
      ...(saveArea === undefined ? {} : { saveArea }),
    };
    const exit = await machine.enter(control);
    if (abandoned) return 'halted';
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
        return { ended: 'fault', detail: `no memory at guest address 0x${exit.guestAddress.toString(16)}` };
      case 'invalid':
        return { ended: 'fault', detail: exit.detail };
    }
  }

  /** A halted vCPU waits for an interrupt, and this machine has none: it stays where it is, and counts as running. */
  async function run(): Promise<void> {
    while (wanted && !abandoned && !halted && !ended) {
      const served = await runOnce().catch(lost);
      if (abandoned) return;
      if (served === 'halted') halted = true;
      else if (served !== 'enter-again') {
        ended = true;
        onEnd(served);
      }
    }
  }

  function start(): void {
    wanted = true;
    running ??= run().then(() => {
      running = undefined;
      if (wanted && !abandoned && !halted && !ended) start();
    });
  }

  return {
    start,
    async stop() {
      wanted = false;
      await running;
    },
    abandon() {
      abandoned = true;
      wanted = false;
    },
  };
}

/** The machine itself went away, or refused what was asked of it. */
function lost(error: unknown): Served {
  return { ended: 'fault', detail: error instanceof Error ? error.message : String(error) };
}

import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import type { GuestMemory } from '../launch/guest-memory.js';
import { type VirtualCpu, virtualCpu } from '../launch/virtual-cpu.js';
import type { Served } from '../launch/vmgexit.js';
import { type SnpExitOptions, snpExits } from './exits/exits.js';
import type { ApCreation } from './exits/ghcb-calls.js';

/** The vCPUs of one guest. The boot vCPU runs from the start, the others when the guest makes them. */
export interface SnpVcpus extends VirtualCpu {
  /**
   * AP creation: a vCPU goes on with another state, which the guest has put into a page of its own. Each privilege level
   * of a vCPU has a state of its own.
   * @returns false for a vCPU that the guest does not have, or a page that it does not have
   */
  create(creation: ApCreation): Promise<boolean>;
}

export interface SnpVcpusOptions {
  readonly machine: HostMachine;
  readonly memory: GuestMemory;
  readonly asid: number;
  /** One for each vCPU, the boot vCPU's first: the states that the launch made. */
  readonly vmsaAddresses: readonly number[];
  /** SEV_FEATURES that every state must have. */
  readonly guestFeatures: bigint;
  readonly exits: Omit<SnpExitOptions, 'createAp'>;
  onEnd(end: Extract<Served, object>): void;
}

const pageSize = 0x1000;
const mostPrivilegeLevels = 4;

export function snpVcpus(options: SnpVcpusOptions): SnpVcpus {
  const { machine, memory, asid, vmsaAddresses, guestFeatures, onEnd } = options;
  const cpus = new Map<string, VirtualCpu>();
  let running = false;

  /** Puts a vCPU's privilege level on a VMSA; what ran there before is not entered again. */
  function put(name: string, vmsaAddress: number): void {
    remove(name);
    const exits = snpExits({ ...options.exits, createAp: create });
    const { nestedPages } = memory;
    const cpu = virtualCpu({
      async enter() {
        const exit = await machine.enter({ asid, nestedPages, vmsaAddress, ghcbMsr: exits.ghcbMsr });
        return () => exits.serve(exit);
      },
      onEnd,
    });
    cpus.set(name, cpu);
    if (running) cpu.start();
  }

  function remove(name: string): void {
    cpus.get(name)?.abandon();
    cpus.delete(name);
  }

  async function create(creation: ApCreation): Promise<boolean> {
    const { apicId, vmpl, request, vmsaGuestAddress } = creation;
    const name = `${apicId}/${vmpl}`;
    if (apicId >= vmsaAddresses.length || vmpl >= mostPrivilegeLevels) return false;
    if (request === 'DESTROY') {
      remove(name);
      return true;
    }
    const vmsaAddress = memory.systemAddress(vmsaGuestAddress, pageSize);
    const isPage = vmsaGuestAddress % pageSize === 0 && vmsaAddress !== undefined;
    if (!isPage || creation.guestFeatures !== guestFeatures) return false;
    put(name, vmsaAddress);
    return true;
  }

  const each = (work: (cpu: VirtualCpu) => unknown) => Promise.all([...cpus.values()].map(work));
  const [bootVmsa] = vmsaAddresses;
  if (bootVmsa !== undefined) put('0/0', bootVmsa);

  return {
    create,
    start() {
      running = true;
      void each((cpu) => cpu.start());
    },
    async stop() {
      running = false;
      await each((cpu) => cpu.stop());
    },
    abandon() {
      running = false;
      void each((cpu) => cpu.abandon());
    },
  };
}

import { allocateHostMemory } from '@vouchsafe/host';
import { vmsa } from '@vouchsafe/sev';
import type { SnpAttack } from '../../attack.js';
import { hostWriteOutcome } from '../../outcome.js';
import { enterOnce } from '../meddling.js';
import type { SnpRig } from '../world.js';
import { type Guest, give, pageSize, takeBack } from './pages.js';

/** The register states of the guest's vCPUs lie in pages of its memory, and the host names the one that it enters. */

const modes = ['snp'] as const;

export const registerStateAttacks: readonly SnpAttack[] = [
  {
    id: 'vmsa-written',
    flow: 'memory',
    modes,
    title: 'The host writes to the register state of a vCPU after launch',
    refusedBy: 'reverse map',
    at: '#PF(RMP)',
    async run(_world, rig) {
      const { vm } = await rig.boot();
      const [address = 0] = vm.vmsaAddresses;
      return hostWriteOutcome('a guest with registers of the host’s making', () =>
        rig.host.memory.write(address + vmsa.offsetOf('rip'), new Uint8Array(8)),
      );
    },
  },
  {
    id: 'snp-vmsa-put-back',
    flow: 'memory',
    modes,
    title: 'The host takes the page of a register state, puts an old state into it and gives it back',
    refusedBy: 'CPU',
    at: 'VMEXIT_INVALID',
    async run(_world, rig) {
      const vm = await rig.load();
      await runToHalt(rig, vm);
      const [address = 0] = vm.vmsaAddresses;
      const old = await rig.host.memory.read(address, pageSize);
      const { guestAddress } = await rig.host.reverseMap.read(address);
      await takeBack(rig.host, address);
      await rig.host.memory.write(address, old);
      await give(rig.host, address, { asid: vm.asid, guestAddress });
      return enterOnce(rig.host, vm, 'a guest that was set back');
    },
  },
  {
    id: 'foreign-vmsa',
    flow: 'memory',
    modes,
    title: 'The host enters the guest with a register state of its own',
    refusedBy: 'CPU',
    at: 'VMEXIT_INVALID',
    async run(_world, rig) {
      const vm = await rig.load();
      await runToHalt(rig, vm);
      const own = allocateHostMemory(rig.host, pageSize).address;
      return enterOnce(rig.host, vm, 'a guest with registers of the host’s making', own);
    },
  },
];

/** LAUNCH_FINISH, and a boot vCPU that is out of the guest. */
async function runToHalt(rig: SnpRig, vm: Guest & { resume(): Promise<void>; pause(): Promise<void> }) {
  rig.machine.insertGuest((view) => view.halt(), vm.asid);
  await vm.resume();
  await vm.pause();
  const { refusedBy, evidence } = await enterOnce(rig.host, vm, 'a guest that runs');
  if (refusedBy !== 'nobody') throw new TypeError(evidence);
}

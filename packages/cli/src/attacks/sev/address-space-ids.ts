import type { HostMachine } from '@vouchsafe/firmware';
import { withMailbox } from '@vouchsafe/host';
import { activateBuffer, deactivateBuffer } from '@vouchsafe/sev';
import type { SevAttack } from '../attack.js';
import { processorOutcome } from '../outcome.js';
import { enter, finish } from './hostile-host.js';
import type { Rig, World } from './world.js';

/** The host hands out address space ids, which name the memory keys, and tries to give one away that is not free. */

const both = ['sev', 'sev-es'] as const;

const activate = (host: HostMachine, handle: number, asid: number) =>
  withMailbox(host, ({ run }) => run('ACTIVATE', activateBuffer.build({ handle, asid })));
const deactivate = (host: HostMachine, handle: number) =>
  withMailbox(host, ({ run }) => run('DEACTIVATE', deactivateBuffer.build({ handle })));

/** Two guests that were launched; the first has run, and its id was taken away. */
async function afterFirstRan(world: World, rig: Rig) {
  const owner = await world.owner();
  const [first, second] = [(await rig.launch(owner)).vm, (await rig.launch(owner)).vm];
  rig.machine.insertGuest(async (view) => view.halt());
  await finish(rig.host, first);
  await enter(rig.host, first);
  await deactivate(rig.host, second.handle);
  await rig.host.writeBackAndInvalidate();
  await withMailbox(rig.host, ({ run }) => run('DF_FLUSH'));
  await deactivate(rig.host, first.handle);
  return { first, second };
}

export const asidAttacks: readonly SevAttack[] = [
  {
    id: 'owned-asid',
    flow: 'ownership of ASIDs',
    modes: both,
    title: 'The host activates a guest under the ASID of another, to run it with that guest’s key',
    refusedBy: 'processor',
    at: 'ASID_OWNED',
    async run(world, rig) {
      const owner = await world.owner();
      const victim = (await rig.launch(owner)).vm;
      const intruder = (await rig.launch(owner)).vm;
      await deactivate(rig.host, intruder.handle);
      return processorOutcome('two guests under one key', () =>
        activate(rig.host, intruder.handle, victim.asid),
      );
    },
  },
  {
    id: 'flush-skipped',
    flow: 'ownership of ASIDs',
    modes: both,
    title:
      'The host gives an ASID to the next guest without DF_FLUSH, while caches still hold the last one’s data',
    refusedBy: 'processor',
    at: 'DF_FLUSH_REQUIRED',
    async run(world, rig) {
      const { first, second } = await afterFirstRan(world, rig);
      await rig.host.writeBackAndInvalidate();
      return processorOutcome('data of one guest in the caches of the next', () =>
        activate(rig.host, second.handle, first.asid),
      );
    },
  },
  {
    id: 'writeback-skipped',
    flow: 'ownership of ASIDs',
    modes: both,
    title: 'The host calls DF_FLUSH without WBINVD on all cores',
    refusedBy: 'processor',
    at: 'WBINVD_REQUIRED',
    async run(world, rig) {
      await afterFirstRan(world, rig);
      return processorOutcome('data of one guest in the caches of the next', () =>
        withMailbox(rig.host, ({ run }) => run('DF_FLUSH')),
      );
    },
  },
];

import { softwareLauncher } from '@vouchsafe/host';
import type { Outcome, SevAttack } from '../attack.js';
import { alteredHashes, firmwareWithoutHashArea, otherCommandLine, otherFiles } from '../boot-files.js';
import { type Interference, interferingHost } from '../interfering-host.js';
import { ownerOutcome } from '../outcome.js';
import { settled } from './hostile-host.js';
import { configurationOf, evidenceOf, images, type Rig, type World } from './world.js';

/** Measured direct boot of SEV and SEV-ES: the host boots other files, or measures other hashes than it boots. */

const both = ['sev', 'sev-es'] as const;
const accepted = 'the secret of an owner who was shown another boot';
const refusedByOwner = { flow: 'boot', modes: both, refusedBy: 'owner', at: 'measurement.digest' } as const;
const refusedByGuest = { flow: 'boot', modes: both, refusedBy: 'guest', at: 'boot-refused' } as const;

/** An honest launch and its secret, and then other files for the guest that boots. */
async function bootOther(
  world: World,
  rig: Rig,
  item: 'initrd' | 'command line',
  change: (initrd: Uint8Array, interference: Interference) => void,
): Promise<Outcome> {
  const owner = await world.owner();
  const initrd = images.initrd.slice();
  const { kernel, commandLine } = images;
  const interference: Interference = {};
  const host = interferingHost(rig.host, interference);
  const { vm, evidence } = await rig.launch(owner, { directBoot: { kernel, initrd, commandLine } }, host);
  const { delivery } = await owner.appraiseMeasurement(evidence);
  if (delivery === undefined) throw new TypeError('the owner refused an honest launch');
  await vm.injectSecret(delivery);
  change(initrd, interference);
  const end = settled(vm);
  await vm.resume();
  await end;
  const { failure, diskKey } = rig.guest;
  return failure?.startsWith(`boot refused: ${item}`) && diskKey === undefined
    ? { refusedBy: 'guest', at: 'boot-refused', evidence: failure }
    : { refusedBy: 'nobody', at: 'a boot that nobody measured', evidence: 'the guest went on' };
}

export const bootAttacks: readonly SevAttack[] = [
  ...otherFiles.map(
    ({ id, title, directBoot }): SevAttack => ({
      ...refusedByOwner,
      id,
      title,
      async run(world, rig) {
        const owner = await world.owner();
        const { evidence } = await rig.launch(owner, { directBoot });
        return ownerOutcome((await owner.appraiseMeasurement(evidence)).appraisal, accepted);
      },
    }),
  ),
  {
    ...refusedByOwner,
    id: 'altered-hashes-table',
    title: 'The host changes a hash in the table before the table is measured',
    async run(world, rig) {
      const owner = await world.owner();
      const alter = await alteredHashes();
      const host = interferingHost(rig.host, { write: (_address, bytes) => alter(bytes) });
      const { evidence } = await rig.launch(owner, {}, host);
      return ownerOutcome((await owner.appraiseMeasurement(evidence)).appraisal, accepted);
    },
  },
  {
    ...refusedByOwner,
    id: 'firmware-without-hash-area',
    title: 'The host loads firmware that has no place for hashes, to hand it a kernel that nothing measures',
    async run(world, rig) {
      const owner = await world.owner();
      const { bundle } = await owner.openSession(rig.request);
      if (bundle === undefined) throw new TypeError('the owner refused an honest platform');
      const { directBoot: _, ...configuration } = configurationOf(bundle);
      const firmware = firmwareWithoutHashArea();
      const vm = await softwareLauncher(rig.host).launch({
        ...configuration,
        firmware,
        memory: 8 * 1024 * 1024,
      });
      const answer = await owner.appraiseMeasurement(await evidenceOf(bundle, vm));
      return ownerOutcome(answer.appraisal, accepted);
    },
  },
  {
    ...refusedByGuest,
    id: 'initrd-swapped-after-measure',
    title: 'The host measures the right initrd and hands the guest another one when it boots',
    run: (world, rig) =>
      bootOther(world, rig, 'initrd', (initrd) => {
        initrd[0]! ^= 1;
      }),
  },
  {
    ...refusedByGuest,
    id: 'command-line-changed-after-measure',
    title: 'The host measures the right command line and hands the guest another one when it boots',
    run: (world, rig) =>
      bootOther(world, rig, 'command line', (_initrd, interference) => {
        interference.write = (_address, bytes) => otherCommandLine(bytes);
      }),
  },
];

import { appraiseInitData } from '@vouchsafe/guest';
import { softwareLauncher } from '@vouchsafe/host';
import { initDataDigest, initDataText } from '@vouchsafe/protocol';
import { vcpuSignatureOf } from '@vouchsafe/sev';
import type { SnpAttack } from '../attack.js';
import { alteredHashes, firmwareWithoutHashArea, otherCommandLine, otherFiles } from '../boot-files.js';
import { appraisedByGuest, guestOutcome } from '../outcome.js';
import { images } from '../sev/world.js';
import { appraisedGuest } from './appraised-guest.js';
import { bootGuest, ownerPolicy } from './world.js';

/** Measured direct boot of SEV-SNP, and the settings that HOST_DATA binds. */

const modes = ['snp'] as const;
const unmeasured = 'a boot that nobody measured';
const refusedByGuest = { flow: 'boot', modes, refusedBy: 'guest', at: 'boot-refused' } as const;
const refusedByVerifier = {
  flow: 'boot',
  modes,
  refusedBy: 'verifier',
  at: 'report.measurement',
} as const;

const otherwise = 'the secret of an owner who was shown another boot';

export const snpBootAttacks: readonly SnpAttack[] = [
  ...otherFiles.map(
    ({ id, title, directBoot }): SnpAttack => ({
      ...refusedByVerifier,
      id: `snp-${id}`,
      title,
      run: async (world, rig) => appraisedGuest(world, rig, await rig.boot({ directBoot }), otherwise),
    }),
  ),
  {
    ...refusedByGuest,
    id: 'snp-altered-hashes-table',
    title: 'The host changes a hash in the table before the table is measured',
    async run(_world, rig) {
      const alter = await alteredHashes();
      rig.interference.write = (_address, bytes) => alter(bytes);
      return guestOutcome(unmeasured, () => rig.boot());
    },
  },
  {
    ...refusedByVerifier,
    id: 'snp-firmware-without-hash-area',
    title: 'The host loads firmware that has no place for hashes, to hand it a kernel that nothing measures',
    async run(world, rig) {
      const firmware = firmwareWithoutHashArea();
      const vm = await softwareLauncher(rig.host).launchSnp({
        mode: 'snp',
        policy: ownerPolicy,
        firmware,
        vcpus: 1,
        vcpuSignature: vcpuSignatureOf('EPYC-Milan'),
        memory: 2 * 1024 * 1024,
      });
      return appraisedGuest(world, rig, await bootGuest(rig.machine, vm, firmware), otherwise);
    },
  },
  {
    ...refusedByGuest,
    id: 'snp-initrd-swapped',
    title: 'The host measures the hash of the right initrd and hands the guest another one when it boots',
    async run(_world, rig) {
      const initrd = images.initrd.slice();
      const { kernel, commandLine } = images;
      const vm = await rig.load({ directBoot: { kernel, initrd, commandLine } });
      initrd[0]! ^= 1;
      return guestOutcome(unmeasured, () => bootGuest(rig.machine, vm));
    },
  },
  {
    ...refusedByGuest,
    id: 'snp-command-line-changed',
    title:
      'The host measures the hash of the right command line and hands the guest another one when it boots',
    async run(_world, rig) {
      const vm = await rig.load();
      rig.interference.write = (_address, bytes) => otherCommandLine(bytes);
      return guestOutcome(unmeasured, () => bootGuest(rig.machine, vm));
    },
  },
  {
    flow: 'boot',
    modes,
    refusedBy: 'guest',
    at: 'init-data.host-data',
    id: 'init-data-of-the-host',
    title: 'The host launches a pod with the owner’s HOST_DATA, and hands it init-data with another policy',
    async run(_world, rig) {
      const policy = (allowed: boolean) =>
        initDataText({ 'policy.rego': `package agent_policy\ndefault ExecProcessRequest := ${allowed}\n` });
      const hostData = (await initDataDigest(policy(false))).slice(0, 32);
      const { attestation } = await rig.boot({ hostData });
      const handed = await initDataDigest(policy(true));
      return appraisedByGuest('a pod under the host’s policy', async () =>
        appraiseInitData(attestation, handed),
      );
    },
  },
];

import { createDram, type PhysicalMemory } from '@vouchsafe/firmware';
import type { LaunchConfiguration } from '@vouchsafe/host';
import { buildGuestPolicy, equalBytes, parseGuestPolicy } from '@vouchsafe/sev';
import type { SevAttack } from '../attack.js';
import { ownerOutcome, processorOutcome } from '../outcome.js';
import { loadMore, settled } from './hostile-host.js';
import { images, isDiskKey } from './world.js';

/** The host launches something else than the owner asked for, or changes it on the way into the processor. */

const both = ['sev', 'sev-es'] as const;

type PolicyFields = Partial<ReturnType<typeof parseGuestPolicy>>;

/** LAUNCH_START with the owner's session and a policy that gives the host more than the owner does. */
function weakenedPolicy(
  id: string,
  title: string,
  weaker: PolicyFields,
  modes: SevAttack['modes'] = both,
  changes: Partial<LaunchConfiguration> = {},
): SevAttack {
  return {
    id,
    flow: 'launch',
    modes,
    title,
    refusedBy: 'processor',
    at: 'BAD_MEASUREMENT',
    async run(world, rig) {
      const owner = await world.owner();
      const policy = buildGuestPolicy({ ...parseGuestPolicy(world.policy), ...weaker });
      return processorOutcome('a guest under a policy that the owner never gave', () =>
        rig.launch(owner, { policy, ...changes }),
      );
    },
  };
}

export const launchAttacks: readonly SevAttack[] = [
  weakenedPolicy('policy-debug', 'The host clears NODBG in the policy, to read the guest with DBG_DECRYPT', {
    noDebug: false,
  }),
  weakenedPolicy(
    'policy-key-sharing',
    'The host clears NOKS in the policy, to start a guest of its own under the same key',
    {
      noKeySharing: false,
    },
  ),
  weakenedPolicy(
    'policy-es-off',
    'The host clears ES in the policy, to see the registers',
    { encryptedState: false },
    ['sev-es'],
    { mode: 'sev' },
  ),
  weakenedPolicy(
    'policy-lower-api',
    'The host lowers the least API in the policy, to launch on old firmware',
    {
      apiMajor: 0,
      apiMinor: 0,
    },
  ),
  {
    id: 'page-after-measure',
    flow: 'launch',
    modes: both,
    title: 'The host adds a page after LAUNCH_MEASURE',
    refusedBy: 'processor',
    at: 'INVALID_GUEST_STATE',
    async run(world, rig) {
      const { vm } = await rig.launch(await world.owner());
      return processorOutcome('code in the guest that nobody measured', () =>
        loadMore(rig.host, vm, 'DATA', new Uint8Array(4096)),
      );
    },
  },
  {
    id: 'vcpu-after-measure',
    flow: 'launch',
    modes: ['sev-es'],
    title: 'The host adds a vCPU after LAUNCH_MEASURE',
    refusedBy: 'processor',
    at: 'INVALID_GUEST_STATE',
    async run(world, rig) {
      const { vm } = await rig.launch(await world.owner());
      return processorOutcome('a vCPU that begins where the host chooses', () =>
        loadMore(rig.host, vm, 'VMSA', new Uint8Array(4096)),
      );
    },
  },
  {
    id: 'page-changed-under-the-processor',
    flow: 'launch',
    modes: both,
    title:
      'The host changes the firmware image while the processor reads it: the second read gives other bytes',
    refusedBy: 'harmless',
    at: 'what was measured is what was encrypted',
    async run(world) {
      const rig = await world.rig({ memory: flickeringMemory() });
      const owner = await world.owner();
      const { vm, evidence } = await rig.launch(owner);
      const { appraisal, delivery } = await owner.appraiseMeasurement(evidence);
      if (delivery === undefined) return ownerOutcome(appraisal, 'nothing');
      await vm.injectSecret(delivery);
      const end = settled(vm);
      await vm.resume();
      await end;
      return isDiskKey(rig.guest.diskKey)
        ? {
            refusedBy: 'harmless',
            at: 'what was measured is what was encrypted',
            evidence:
              'the owner accepted the measurement, and the guest found the measured firmware in its memory',
          }
        : {
            refusedBy: 'nobody',
            at: 'code that nobody measured',
            evidence: 'the guest found another firmware',
          };
    },
  },
];

/** Memory whose bytes, once the firmware image stands in them, are other ones at every read but the first. */
function flickeringMemory(): PhysicalMemory {
  const memory = createDram(64 * 1024 * 1024);
  const { firmware } = images;
  let armedAt: number | undefined;
  return {
    size: memory.size,
    read(address, length) {
      const bytes = memory.read(address, length);
      if (address === armedAt && length === firmware.length) {
        armedAt = undefined;
        memory.write(address, new Uint8Array(length).fill(0x90));
      }
      return bytes;
    },
    write(address, bytes) {
      memory.write(address, bytes);
      if (bytes.length === firmware.length && equalBytes(bytes, firmware)) armedAt = address;
    },
  };
}

import { softwareLauncher } from '@vouchsafe/host';
import { measurementEvidence } from '@vouchsafe/protocol';
import { toBase64, vmsa } from '@vouchsafe/sev';
import type { SevAttack } from '../attack.js';
import { flipped, interferingHost } from '../interfering-host.js';
import { ownerOutcome, parserOutcome } from '../outcome.js';
import { configurationOf, evidenceOf, images } from './world.js';

/** The host launches other files, or answers the owner's session with a measurement that is not that launch's. */

const both = ['sev', 'sev-es'] as const;
const accepted = 'the secret of an owner who was shown another machine';

/** A launch in which one of the measured files is not the owner's. */
function alteredFile(
  id: string,
  title: string,
  altered: { firmware?: Uint8Array; kernel?: Uint8Array; initrd?: Uint8Array; commandLine?: string },
): SevAttack {
  return {
    id,
    flow: 'measurement',
    modes: both,
    title,
    refusedBy: 'owner',
    at: 'measurement.digest',
    async run(world, rig) {
      const owner = await world.owner();
      const { firmware, ...boot } = { ...images, ...altered };
      const { evidence } = await rig.launch(owner, { firmware, directBoot: boot });
      return ownerOutcome((await owner.appraiseMeasurement(evidence)).appraisal, accepted);
    },
  };
}

export const measurementAttacks: readonly SevAttack[] = [
  alteredFile('altered-firmware', 'The host loads a firmware image with one bit changed', {
    firmware: flipped(images.firmware, 0x100),
  }),
  alteredFile('altered-kernel', 'The host boots a kernel with one bit changed', {
    kernel: flipped(images.kernel),
  }),
  alteredFile('altered-initrd', 'The host boots an initrd with one bit changed', {
    initrd: flipped(images.initrd),
  }),
  alteredFile('altered-command-line', 'The host appends to the kernel’s command line', {
    commandLine: `${images.commandLine} init=/bin/sh`,
  }),
  {
    id: 'altered-vmsa',
    flow: 'measurement',
    modes: ['sev-es'],
    title: 'The host changes the first register state of the boot CPU before the launch',
    refusedBy: 'owner',
    at: 'measurement.digest',
    async run(world, rig) {
      const owner = await world.owner();
      const rip = vmsa.offsetOf('rip');
      const host = interferingHost(rig.host, {
        write: (_address, bytes) => (bytes.length === vmsa.size ? flipped(bytes, rip) : bytes),
      });
      const { evidence } = await rig.launch(owner, {}, host);
      return ownerOutcome((await owner.appraiseMeasurement(evidence)).appraisal, accepted);
    },
  },
  {
    id: 'measurement-of-another-guest',
    flow: 'measurement',
    modes: both,
    title: 'The host answers a session with the measurement of another, honest launch',
    refusedBy: 'owner',
    at: 'measurement.digest',
    async run(world, rig) {
      const owner = await world.owner();
      const honest = await rig.launch(owner);
      const other = await rig.launch(owner);
      const evidence = { ...other.evidence, measurement: honest.evidence.measurement };
      return ownerOutcome((await owner.appraiseMeasurement(evidence)).appraisal, accepted);
    },
  },
  {
    id: 'launch-without-session',
    flow: 'measurement',
    modes: both,
    title: 'The host launches without the owner’s session, under transport keys of zeros that it knows',
    refusedBy: 'owner',
    at: 'measurement.digest',
    async run(world, rig) {
      const owner = await world.owner();
      const { bundle } = await rig.launch(owner);
      const { channel: _none, ...configuration } = configurationOf(bundle);
      const vm = await softwareLauncher(rig.host).launch({ ...configuration, memory: 8 * 1024 * 1024 });
      const evidence = await evidenceOf(bundle, vm);
      return ownerOutcome((await owner.appraiseMeasurement(evidence)).appraisal, accepted);
    },
  },
  {
    id: 'replayed-measurement',
    flow: 'measurement',
    modes: both,
    title: 'The host sends a measurement that was accepted a second time, for a second secret packet',
    refusedBy: 'owner',
    at: 'session.unused',
    async run(world, rig) {
      const owner = await world.owner();
      const { evidence } = await rig.launch(owner);
      await owner.appraiseMeasurement(evidence);
      return ownerOutcome((await owner.appraiseMeasurement(evidence)).appraisal, accepted);
    },
  },
  {
    id: 'session-used-twice',
    flow: 'measurement',
    modes: both,
    title: 'The host launches a second guest with a session that has been answered',
    refusedBy: 'owner',
    at: 'session.unused',
    async run(world, rig) {
      const owner = await world.owner();
      const { bundle, evidence } = await rig.launch(owner);
      await owner.appraiseMeasurement(evidence);
      const second = await softwareLauncher(rig.host).launch({
        ...configurationOf(bundle),
        memory: 8 * 1024 * 1024,
      });
      const answer = await owner.appraiseMeasurement(await evidenceOf(bundle, second));
      return ownerOutcome(answer.appraisal, accepted);
    },
  },
  {
    id: 'truncated-measurement',
    flow: 'measurement',
    modes: both,
    title: 'The host cuts the measurement short, to be compared over fewer bytes',
    refusedBy: 'owner',
    at: 'malformed',
    async run(world, rig) {
      const { evidence } = await rig.launch(await world.owner());
      const whole = measurementEvidence.toJson(evidence) as Record<string, unknown>;
      const cut = { ...whole, measurement: toBase64(evidence.measurement.slice(0, 47)) };
      return parserOutcome(accepted, async () => measurementEvidence.parseText(JSON.stringify(cut)));
    },
  },
  {
    id: 'other-firmware-than-announced',
    flow: 'measurement',
    modes: both,
    title: 'The host asks for a session with one version of the firmware, and launches on another',
    refusedBy: 'owner',
    at: 'session.firmware',
    async run(world, rig) {
      const owner = await world.owner();
      const { evidence } = await rig.launch(owner);
      const older = { ...evidence, apiMinor: evidence.apiMinor - 1 };
      return ownerOutcome((await owner.appraiseMeasurement(older)).appraisal, accepted);
    },
  },
  {
    id: 'lie-about-the-build',
    flow: 'measurement',
    modes: both,
    title: 'The host runs an old build of the firmware and says, from first to last, that it is the new one',
    refusedBy: 'owner',
    at: 'measurement.digest',
    async run(world) {
      const rig = await world.rig({ profile: { build: 23 } });
      Object.assign(rig.request, { buildId: 24 });
      const owner = await world.owner({ expectedBuilds: [24] });
      const { evidence } = await rig.launch(owner);
      return ownerOutcome(
        (await owner.appraiseMeasurement({ ...evidence, buildId: 24 })).appraisal,
        accepted,
      );
    },
  },
];

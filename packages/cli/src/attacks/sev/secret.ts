import type { SecretDelivery } from '@vouchsafe/protocol';
import { largestSecretPacket } from '@vouchsafe/sev';
import type { SevAttack } from '../attack.js';
import { flipped, interferingHost } from '../interfering-host.js';
import { processorOutcome } from '../outcome.js';
import { finish, injectAt } from './hostile-host.js';
import type { Launched, Rig, World } from './world.js';

/** The host has the owner's secret packet, which it cannot read, and tries what else it can do with it. */

const both = ['sev', 'sev-es'] as const;

interface Delivered extends Launched {
  readonly delivery: SecretDelivery;
  /** Where the guest will look, in the host's memory. */
  readonly address: number;
}

/** An honest launch up to the moment at which the host holds the packet. */
async function delivered(world: World, rig: Rig): Promise<Delivered> {
  const owner = await world.owner();
  const launched = await rig.launch(owner);
  const { delivery } = await owner.appraiseMeasurement(launched.evidence);
  if (delivery === undefined) throw new TypeError('the owner refused an honest launch');
  return { ...launched, delivery, address: secretAddress(launched) };
}

const secretAddress = ({ vm }: Launched) => vm.memory.requireSystemAddress(0x8000, 0x4000);

function alteredPacket(
  id: string,
  title: string,
  alter: (packet: SecretDelivery) => SecretDelivery,
): SevAttack {
  return {
    id,
    flow: 'secret',
    modes: both,
    title,
    refusedBy: 'processor',
    at: 'BAD_MEASUREMENT',
    async run(world, rig) {
      const { vm, delivery, address } = await delivered(world, rig);
      return processorOutcome('a secret of the host’s choice', () =>
        injectAt(rig.host, vm, alter(delivery), address),
      );
    },
  };
}

export const secretAttacks: readonly SevAttack[] = [
  alteredPacket('altered-packet', 'The host changes one bit of the encrypted secret', (packet) => ({
    ...packet,
    payload: flipped(packet.payload),
  })),
  alteredPacket(
    'altered-packet-header',
    'The host changes one bit of the packet’s initial counter',
    (packet) => ({
      ...packet,
      header: flipped(packet.header, 4),
    }),
  ),
  {
    id: 'packet-of-another-launch',
    flow: 'secret',
    modes: both,
    title: 'The host injects the packet of one launch into another',
    refusedBy: 'processor',
    at: 'BAD_MEASUREMENT',
    async run(world, rig) {
      const first = await delivered(world, rig);
      const second = await rig.launch(await world.owner());
      return processorOutcome('one owner’s secret in another guest', () =>
        injectAt(rig.host, second.vm, first.delivery, secretAddress(second)),
      );
    },
  },
  {
    id: 'oversized-packet',
    flow: 'secret',
    modes: both,
    title: 'The host injects a packet larger than 16 KiB',
    refusedBy: 'processor',
    at: 'INVALID_LENGTH',
    async run(world, rig) {
      const { vm, delivery, address } = await delivered(world, rig);
      const payload = new Uint8Array(largestSecretPacket + 16);
      payload.set(delivery.payload);
      return processorOutcome('a buffer of the processor overrun', () =>
        injectAt(rig.host, vm, { header: delivery.header, payload }, address),
      );
    },
  },
  {
    id: 'packet-before-measure',
    flow: 'secret',
    modes: both,
    title: 'The host injects a packet before LAUNCH_MEASURE, into a guest that it can still change',
    refusedBy: 'processor',
    at: 'INVALID_GUEST_STATE',
    async run(world, rig) {
      const { vm, delivery, address } = await delivered(world, rig);
      const early = interferingHost(rig.host, {
        async before(command) {
          if (command === 'LAUNCH_MEASURE')
            await injectAt(rig.host, { handle: vm.handle + 1 }, delivery, address);
        },
      });
      return processorOutcome('a secret in a guest that is not measured yet', () =>
        world.owner().then((owner) => rig.launch(owner, {}, early)),
      );
    },
  },
  {
    id: 'packet-after-finish',
    flow: 'secret',
    modes: both,
    title: 'The host injects the packet again after LAUNCH_FINISH',
    refusedBy: 'processor',
    at: 'INVALID_GUEST_STATE',
    async run(world, rig) {
      const { vm, delivery, address } = await delivered(world, rig);
      await injectAt(rig.host, vm, delivery, address);
      await finish(rig.host, vm);
      return processorOutcome('memory of a running guest overwritten', () =>
        injectAt(rig.host, vm, delivery, address),
      );
    },
  },
  {
    id: 'replayed-packet',
    flow: 'secret',
    modes: both,
    title: 'The host injects the same packet twice within one launch',
    refusedBy: 'nobody',
    at: 'the same secret again',
    limit: {
      why: 'a packet is bound to its launch by the measurement, and LAUNCH_SECRET may be called again within it',
      caughtBy:
        'nothing is gained: the guest gets what its owner sent it; a guest that wipes a secret after use should do so after it has begun to run',
    },
    async run(world, rig) {
      const { vm, delivery, address } = await delivered(world, rig);
      await injectAt(rig.host, vm, delivery, address);
      return processorOutcome('the same secret again', () => injectAt(rig.host, vm, delivery, address));
    },
  },
  {
    id: 'packet-to-another-address',
    flow: 'secret',
    modes: both,
    title: 'The host injects the packet at another address of the guest than the one it should go to',
    refusedBy: 'nobody',
    at: 'a secret where nobody looks',
    limit: {
      why: 'the guest’s address is not covered by the packet’s authentication code',
      caughtBy:
        'the guest looks in the one area that its measured firmware reserves, and finds no secret table there; SEV-SNP guests fetch secrets themselves',
    },
    async run(world, rig) {
      const { vm, delivery } = await delivered(world, rig);
      const elsewhere = vm.memory.requireSystemAddress(0x10_0000, delivery.payload.length);
      return processorOutcome('a secret where nobody looks', () =>
        injectAt(rig.host, vm, delivery, elsewhere),
      );
    },
  },
];

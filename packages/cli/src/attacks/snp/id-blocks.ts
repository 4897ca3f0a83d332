import type { SnpLaunchConfiguration } from '@vouchsafe/host';
import { generateP384, idKeyDigest, type P384PrivateKey } from '@vouchsafe/sev';
import type { SnpAttack } from '../attack.js';
import { flipped } from '../interfering-host.js';
import { processorOutcome } from '../outcome.js';
import { debugPolicy, otherKernel, refusedReport } from './other-launches.js';
import { olderGuest, type SnpWorld, signedIdBlock } from './world.js';

/** The host launches something else than the owner signed for in an ID block, or without one. */

const modes = ['snp'] as const;

interface Owner {
  readonly idKey: P384PrivateKey;
  readonly authorKey: P384PrivateKey;
}

async function newOwner(): Promise<Owner> {
  return { idKey: await generateP384(), authorKey: await generateP384() };
}

/** What an owner signs for the guest of the world's images. */
const signedBlock = (
  { measurement: launchDigest }: SnpWorld,
  keys: { readonly idKey: P384PrivateKey; readonly authorKey?: P384PrivateKey },
) => signedIdBlock({ launchDigest, guestSvn: 2, ...keys });

/** LAUNCH_FINISH with an ID block that does not fit, in one way or another. */
function refusedBlock(
  id: string,
  title: string,
  at: string,
  launch: (world: SnpWorld) => Promise<Partial<SnpLaunchConfiguration>>,
): SnpAttack {
  return {
    id,
    flow: 'launch',
    modes,
    title,
    refusedBy: 'processor',
    at,
    async run(world, rig) {
      const changes = await launch(world);
      return processorOutcome('a guest that its owner never signed for', () => rig.boot(changes));
    },
  };
}

export const idBlockAttacks: readonly SnpAttack[] = [
  refusedBlock(
    'id-block-of-another-digest',
    'The host boots another kernel, with the owner’s ID block for the right one',
    'BAD_MEASUREMENT',
    async (world) => ({
      directBoot: otherKernel,
      idBlock: await signedBlock(world, await newOwner()),
    }),
  ),
  refusedBlock(
    'id-block-of-another-policy',
    'The host sets DEBUG in the policy, with the owner’s ID block for a policy without it',
    'POLICY_FAILURE',
    async (world) => ({
      policy: debugPolicy,
      idBlock: await signedBlock(world, await newOwner()),
    }),
  ),
  refusedBlock(
    'id-block-altered',
    'The host raises the security version in the owner’s ID block',
    'BAD_SIGNATURE',
    async (world) => {
      const { block, authentication } = await signedBlock(world, await newOwner());
      return { idBlock: { block: flipped(block, 0x54), authentication } };
    },
  ),
  refusedBlock(
    'id-key-under-foreign-author',
    'The host signs an ID block with a key of its own, and borrows the author key’s signature of the owner’s',
    'BAD_SIGNATURE',
    async (world) => {
      const owner = await newOwner();
      const real = await signedBlock(world, owner);
      const own = await signedBlock(world, { ...owner, idKey: await generateP384() });
      const authentication = own.authentication.slice();
      authentication.set(real.authentication.subarray(0x680), 0x680);
      return { idBlock: { block: own.block, authentication } };
    },
  ),
  refusedReport(
    'id-key-unknown',
    'The host signs an ID block for the right guest with a key of its own',
    'report.id-key',
    async (world) => {
      const owner = await newOwner();
      return {
        changes: { idBlock: await signedBlock(world, { idKey: await generateP384() }) },
        expectations: { idKeyDigests: [await idKeyDigest(owner.idKey.publicKey)] },
      };
    },
  ),
  refusedReport(
    'id-block-of-an-old-guest',
    'The host launches an older guest of the owner’s, with the ID block that was signed for it then',
    'report.guest-svn',
    async () => {
      const { idKey } = await newOwner();
      return {
        changes: await olderGuest(idKey, 1),
        expectations: {
          // This owner trusts what the ID key signs, whatever its digest.
          measurements: undefined,
          idKeyDigests: [await idKeyDigest(idKey.publicKey)],
          minimumGuestSvn: 2,
        },
      };
    },
  ),
  refusedReport(
    'id-block-left-out',
    'The host launches the right guest without the owner’s ID block',
    'report.id-block',
    async () => ({ expectations: { requireIdBlock: true } }),
  ),
];

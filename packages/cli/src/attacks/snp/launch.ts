import { FirmwareCommandError, type SnpLaunchConfiguration } from '@vouchsafe/host';
import {
  buildCpuidPage,
  buildResetVmsa,
  generateP384,
  idKeyDigest,
  type P384PrivateKey,
  parseCpuidPage,
  type ReportExpectations,
  snpActivateBuffer,
  snpLaunchStartBuffer,
  vcpuSignatureOf,
} from '@vouchsafe/sev';
import type { SnpAttack } from '../attack.js';
import { flipped } from '../interfering-host.js';
import { guestOutcome, processorOutcome, verifierOutcome } from '../outcome.js';
import { images } from '../sev/world.js';
import { enterOnce } from './meddling.js';
import { loadMore, placeOf } from './pages.js';
import { bootGuest, freshData, olderGuest, type SnpRig, type SnpWorld, signedIdBlock } from './world.js';

/** The host launches something else than the owner signed for, or changes it on the way into the processor. */

const modes = ['snp'] as const;
const debugPolicy = 0xb_0000n;
const agentPolicy = 0x7_0000n;

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

const otherKernel = { ...images, kernel: flipped(images.kernel) };

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

/** A guest that the processor lets run; whoever gets its report compares it with what was meant. */
function refusedReport(
  id: string,
  title: string,
  at: string,
  launch: (world: SnpWorld) => Promise<{
    readonly changes?: Partial<SnpLaunchConfiguration>;
    readonly expectations?: ReportExpectations;
  }>,
): SnpAttack {
  return {
    id,
    flow: 'launch',
    modes,
    title,
    refusedBy: 'verifier',
    at,
    async run(world, rig) {
      const { changes, expectations } = await launch(world);
      const { attestation } = await rig.boot(changes);
      const { report } = await attestation.report({ reportData: freshData });
      const appraisal = await world.verify(report, rig, expectations && { expectations });
      return verifierOutcome(appraisal, 'the trust of a verifier who meant another guest');
    },
  };
}

export const snpLaunchAttacks: readonly SnpAttack[] = [
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
  refusedReport(
    'snp-altered-firmware',
    'The host loads a firmware image with one bit changed',
    'report.measurement',
    async () => ({ changes: { firmware: flipped(images.firmware, 0x100) } }),
  ),
  refusedReport(
    'snp-altered-kernel',
    'The host boots a kernel with one bit changed, and measures its hash',
    'report.measurement',
    async () => ({ changes: { directBoot: otherKernel } }),
  ),
  refusedReport(
    'snp-altered-vmsa',
    'The host starts the boot CPU with other registers than the owner expects',
    'report.measurement',
    async () => ({ changes: { vmsaFpu: 'zero' } }),
  ),
  refusedReport(
    'host-data-replaced',
    'The host launches with host data of its own in place of the configuration that the owner gave it',
    'report.host-data',
    async () => ({
      changes: { hostData: new Uint8Array(32).fill(1) },
      expectations: { hostData: new Uint8Array(32).fill(2) },
    }),
  ),
  refusedReport(
    'debug-policy',
    'The host launches without an ID block under a policy with DEBUG, to read the guest with SNP_DBG_DECRYPT',
    'guest.debug',
    async () => ({ changes: { policy: debugPolicy } }),
  ),
  ...(['NORMAL', 'SECRETS'] as const).map(
    (type): SnpAttack => ({
      id: type === 'NORMAL' ? 'page-added-at-launch' : 'second-secrets-page',
      flow: 'launch',
      modes,
      title:
        type === 'NORMAL'
          ? 'The host loads one page more than the owner’s images have'
          : 'The host asks for the secrets page twice, for a copy of the keys at a place of its choice',
      refusedBy: 'verifier',
      at: 'report.measurement',
      async run(world, rig) {
        const vm = await rig.load();
        // The guest shares this page with its host later, and so does not look at it.
        await loadMore(rig.host, vm, { guestAddress: 0x2_0000, type });
        const { attestation } = await bootGuest(rig.machine, vm);
        const { report } = await attestation.report({ reportData: freshData });
        return verifierOutcome(await world.verify(report, rig), 'a guest with a page of the host’s making');
      },
    }),
  ),
  ...(['NORMAL', 'SECRETS'] as const).map(
    (type): SnpAttack => ({
      id: type === 'NORMAL' ? 'page-added-after-launch' : 'secrets-page-asked-again',
      flow: 'launch',
      modes,
      title:
        type === 'NORMAL'
          ? 'The host loads a page into a guest that runs'
          : 'The host asks for the secrets page again when the guest runs',
      refusedBy: 'processor',
      at: 'INVALID_GUEST_STATE',
      async run(_world, rig) {
        const { vm } = await rig.boot();
        return processorOutcome('memory of a running guest overwritten', () =>
          loadMore(rig.host, vm, { guestAddress: 0x2_0000, type }),
        );
      },
    }),
  ),
  {
    id: 'migration-agent-attached',
    flow: 'launch',
    modes,
    title:
      'The host launches under a policy with MIGRATE_MA and binds a migration agent of its own to the guest',
    refusedBy: 'verifier',
    at: 'guest.migration-agent',
    async run(world, rig) {
      await attachAgent(rig);
      const { attestation } = await rig.boot({ policy: agentPolicy });
      const { report } = await attestation.report({ reportData: freshData });
      return verifierOutcome(await world.verify(report, rig), 'a guest that its agent can take elsewhere');
    },
  },
  {
    id: 'migration-agent-against-policy',
    flow: 'launch',
    modes,
    title: 'The host binds a migration agent to a guest whose policy allows none',
    refusedBy: 'processor',
    at: 'POLICY_FAILURE',
    async run(_world, rig) {
      await attachAgent(rig);
      return processorOutcome('a guest that its agent can take elsewhere', () => rig.load());
    },
  },
  {
    id: 'page-of-another-guest-loaded',
    flow: 'launch',
    modes,
    title: 'The host loads a page into one guest that belongs to another',
    refusedBy: 'processor',
    at: 'INVALID_PAGE_OWNER',
    async run(_world, rig) {
      const [victim, vm] = [await rig.load(), await rig.load()];
      return processorOutcome('a page that two guests have', () =>
        loadMore(rig.host, vm, { guestAddress: 0x2_0000, type: 'NORMAL', asid: victim.asid }),
      );
    },
  },
  {
    id: 'page-loaded-mutable',
    flow: 'launch',
    modes,
    title: 'The host keeps the right to take a page back while the processor measures it',
    refusedBy: 'processor',
    at: 'INVALID_PAGE_STATE',
    async run(_world, rig) {
      const vm = await rig.load();
      return processorOutcome('a page that was measured, and is another', () =>
        loadMore(rig.host, vm, { guestAddress: 0x2_0000, type: 'NORMAL', immutable: false }),
      );
    },
  },
  {
    id: 'false-cpuid',
    flow: 'launch',
    modes,
    title: 'The host tells the guest of another C-bit in its CPUID page, so that it writes in plain text',
    refusedBy: 'processor',
    at: 'INVALID_PARAM',
    async run(_world, rig) {
      rig.interference.write = (_address, bytes) => (isCpuidPage(bytes) ? withOtherCBit(bytes) : bytes);
      return processorOutcome('a guest that does not encrypt', () => rig.load());
    },
  },
  {
    id: 'address-space-shared',
    flow: 'launch',
    modes,
    title: 'The host activates a guest under the ASID of another, to run it with that guest’s key',
    refusedBy: 'processor',
    at: 'ASID_OWNED',
    async run(_world, rig) {
      const victim = await rig.load();
      const statuses: number[] = [];
      rig.interference.submit = async (command, bufferAddress, honestly) => {
        if (command !== 'SNP_ACTIVATE') return honestly();
        const { size } = snpActivateBuffer;
        const { gctxAddress } = snpActivateBuffer.parse(await rig.host.memory.read(bufferAddress, size));
        const buffer = snpActivateBuffer.build({ gctxAddress, asid: victim.asid });
        await rig.host.memory.write(bufferAddress, buffer);
        statuses.push(await honestly());
        return statuses[0]!;
      };
      // It insists until it has been through all of them, and finds none that is free.
      await rig.load().catch(() => undefined);
      return processorOutcome('two guests under one key', async () => {
        const [status = 0] = statuses;
        if (status !== 0) throw new FirmwareCommandError('SNP_ACTIVATE', status);
      });
    },
  },
  {
    id: 'entered-before-finish',
    flow: 'launch',
    modes,
    title: 'The host enters a guest before LAUNCH_FINISH, which compares it with its ID block',
    refusedBy: 'CPU',
    at: 'VMEXIT_INVALID',
    async run(_world, rig) {
      const vm = await rig.load();
      const [guestAddress, cpu] = [0x2_0000, 'boot'] as const;
      const state = buildResetVmsa({
        cpu,
        vcpuSignature: vcpuSignatureOf('EPYC-Milan'),
        fpu: 'set',
        sevFeatures: 1n,
      });
      await rig.host.memory.write(placeOf(vm, guestAddress), state);
      await loadMore(rig.host, vm, { guestAddress, type: 'VMSA' });
      return enterOnce(rig.host, vm, 'a guest that runs before it is whole', placeOf(vm, guestAddress));
    },
  },
  {
    id: 'snp-kernel-swapped',
    flow: 'launch',
    modes,
    title: 'The host measures the hash of the right kernel and hands the guest another one when it boots',
    refusedBy: 'guest',
    at: 'boot-refused',
    async run(_world, rig) {
      const kernel = images.kernel.slice();
      const { initrd, commandLine } = images;
      const vm = await rig.load({ directBoot: { kernel, initrd, commandLine } });
      kernel[0] = kernel[0]! ^ 1;
      return guestOutcome('a kernel that nobody measured', () => bootGuest(rig.machine, vm));
    },
  },
];

/** A guest of the host's runs, and becomes the migration agent of those that are launched after it. */
async function attachAgent(rig: SnpRig): Promise<void> {
  const agent = await rig.boot();
  rig.interference.before = async (command, bufferAddress) => {
    if (command !== 'SNP_LAUNCH_START') return;
    const { size } = snpLaunchStartBuffer;
    const given = snpLaunchStartBuffer.parse(await rig.host.memory.read(bufferAddress, size));
    const buffer = snpLaunchStartBuffer.build({
      ...given,
      flags: { migrationAgent: true, initialMigrationImage: false },
      migrationAgentAddress: agent.vm.gctxAddress,
    });
    await rig.host.memory.write(bufferAddress, buffer);
  };
}

function isCpuidPage(bytes: Uint8Array): boolean {
  try {
    return parseCpuidPage(bytes).length > 0;
  } catch {
    return false;
  }
}

function withOtherCBit(page: Uint8Array): Uint8Array {
  return buildCpuidPage(
    parseCpuidPage(page).map((entry) =>
      entry.eaxIn === 0x8000_001f ? { ...entry, ebx: entry.ebx ^ 1 } : entry,
    ),
  );
}

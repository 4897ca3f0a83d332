import { FirmwareCommandError } from '@vouchsafe/host';
import { buildCpuidPage, parseCpuidPage, snpActivateBuffer, snpLaunchStartBuffer } from '@vouchsafe/sev';
import type { SnpAttack } from '../attack.js';
import { flipped } from '../interfering-host.js';
import { guestOutcome, processorOutcome } from '../outcome.js';
import { images } from '../sev/world.js';
import { appraisedGuest } from './appraised-guest.js';
import { bootState, enterOnce } from './meddling.js';
import { loadMore, placeOf } from './memory/pages.js';
import { debugPolicy, otherKernel, refusedReport } from './other-launches.js';
import { bootGuest, type SnpRig } from './world.js';

/** The host changes a launch on its way into the processor. */

const modes = ['snp'] as const;
const agentPolicy = 0x7_0000n;

export const snpLaunchAttacks: readonly SnpAttack[] = [
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
        const booted = await bootGuest(rig.machine, vm);
        return appraisedGuest(world, rig, booted, 'a guest with a page of the host’s making');
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
      const booted = await rig.boot({ policy: agentPolicy });
      return appraisedGuest(world, rig, booted, 'a guest that its agent can take elsewhere');
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
      const guestAddress = 0x2_0000;
      await rig.host.memory.write(placeOf(vm, guestAddress), bootState());
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

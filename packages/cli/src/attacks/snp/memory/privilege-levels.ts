import type { GuestView } from '@vouchsafe/firmware';
import { channelAttestationDevice, openGuestChannel } from '@vouchsafe/guest';
import {
  parseFirmwareFooter,
  pvalidateStatus,
  reportRequest,
  sealGuestMessage,
  snpSectionTypes,
  statusName,
  vmplPermissionBits,
  vmsa,
} from '@vouchsafe/sev';
import type { Outcome, SnpAttack } from '../../attack.js';
import { guestOutcome } from '../../outcome.js';
import { images } from '../../sev/world.js';
import { bootState, enterOnce, touchOutcome } from '../meddling.js';
import { type BootedSnpGuest, freshData, type SnpRig } from '../world.js';
import { pageSize, placeOf } from './pages.js';

/**
 * Code at privilege level 1, an operating system above an SVSM say, that the attacker has taken over: it tries to get at
 * what is level 0's.
 */

const modes = ['snp'] as const;
const [levelOneVmsa, page] = [0x18_0000, 0x19_0000];

interface LevelOne extends BootedSnpGuest {
  /** The boot vCPU at privilege level 1. */
  readonly lower: GuestView;
}

async function withLevelOne(rig: SnpRig): Promise<LevelOne> {
  const booted = await rig.boot();
  const state = bootState();
  let start: Promise<void> | undefined;
  const running = new Promise<GuestView>((resolve) => {
    const program = (view: GuestView) => {
      resolve(view);
      return new Promise<void>(() => undefined);
    };
    start = booted.snp.startVcpu({ apicId: 0, vmpl: 1, vmsaAddress: levelOneVmsa, state, program });
  });
  await start;
  const lower = await running;
  return { ...booted, lower };
}

const allow = (permissions: Parameters<typeof vmplPermissionBits.build>[0]) =>
  Number(vmplPermissionBits.build(permissions));

/** What stopped the lower level from using memory that is not its own. */
function touching(
  id: string,
  title: string,
  otherwise: string,
  work: (level: LevelOne) => Promise<() => Promise<unknown>>,
): SnpAttack {
  return {
    id,
    flow: 'privilege levels',
    modes,
    title,
    refusedBy: 'reverse map',
    at: '#NPF(RMP, VMPL)',
    async run(_world, rig) {
      return touchOutcome(rig, otherwise, await work(await withLevelOne(rig)));
    },
  };
}

/** What the processor said to a message that asks for level 0's. */
function asking(
  id: string,
  title: string,
  otherwise: string,
  work: (device: ReturnType<typeof channelAttestationDevice>) => Promise<unknown>,
): SnpAttack {
  return {
    id,
    flow: 'privilege levels',
    modes,
    title,
    refusedBy: 'processor',
    at: 'INVALID_PARAM',
    async run(_world, rig) {
      const { snp } = await rig.boot();
      const channel = openGuestChannel({ transport: snp.transport, key: snp.lowerKeys[0], vmpck: 1 });
      const device = channelAttestationDevice(channel);
      await device.report({ reportData: freshData });
      return guestOutcome(otherwise, () => work(device));
    },
  };
}

export const snpPrivilegeAttacks: readonly SnpAttack[] = [
  touching(
    'vmpl1-reads-level-0',
    'Code at VMPL1 reads a page of VMPL0’s',
    'what level 0 keeps to itself',
    async ({ view, lower }) => {
      await view.writePrivate(page, new Uint8Array(16).fill(0x41));
      return () => lower.readPrivate(page, 16);
    },
  ),
  touching(
    'vmpl1-writes-read-only',
    'Code at VMPL1 writes to a page that VMPL0 lets it read',
    'code of level 0 that level 1 has changed',
    async ({ view, lower }) => {
      await view.rmpadjust(page, { targetVmpl: 1, permissions: allow({ read: true }), vmsa: false });
      await lower.readPrivate(page, 16);
      return () => lower.writePrivate(page, new Uint8Array(16));
    },
  ),
  touching(
    'vmpl1-reads-secrets-page',
    'Code at VMPL1 reads the secrets page, for the key of VMPL0',
    'the page that the key came in',
    async ({ lower }) => {
      const { sections = [] } = parseFirmwareFooter(images.firmware).sevMetadata ?? {};
      const section = sections.find(({ type }) => type === snpSectionTypes.SECRETS);
      return () => lower.readPrivate(section?.gpa ?? 0, pageSize);
    },
  ),
  {
    id: 'vmpl1-raises-itself',
    flow: 'privilege levels',
    modes,
    title: 'Code at VMPL1 gives itself permissions with RMPADJUST',
    refusedBy: 'reverse map',
    at: 'FAIL_PERMISSION',
    async run(_world, rig) {
      const { lower } = await withLevelOne(rig);
      const permissions = allow({ read: true, write: true });
      const status = await lower.rmpadjust(page, { targetVmpl: 1, permissions, vmsa: false });
      const [name = String(status)] =
        Object.entries(pvalidateStatus).find(([, code]) => code === status) ?? [];
      return status === pvalidateStatus.SUCCESS
        ? { refusedBy: 'nobody', at: 'permissions of its own choice', evidence: 'RMPADJUST succeeded' }
        : { refusedBy: 'reverse map', at: name, evidence: `RMPADJUST answered ${name}` };
    },
  },
  {
    id: 'vmpl1-validates',
    flow: 'privilege levels',
    modes,
    title: 'Code at VMPL1 validates memory that its host has put there',
    refusedBy: 'CPU',
    at: '#GP',
    async run(_world, rig) {
      const { lower } = await withLevelOne(rig);
      const validate = () => lower.pvalidate(page, { size: '4K', validate: true });
      return touchOutcome(rig, 'memory that level 0 did not accept', validate);
    },
  },
  {
    id: 'vmpl1-makes-vmsa',
    flow: 'privilege levels',
    modes,
    title: 'Code at VMPL1 writes a register state for VMPL0 into a page of its own, and the host enters it',
    refusedBy: 'CPU',
    at: 'VMEXIT_INVALID',
    async run(_world, rig): Promise<Outcome> {
      const { vm, view, lower } = await withLevelOne(rig);
      const permissions = allow({ read: true, write: true });
      await view.rmpadjust(page, { targetVmpl: 1, permissions, vmsa: false });
      const state = bootState();
      state[vmsa.offsetOf('vmpl')] = 0;
      await lower.writePrivate(page, state);
      await lower.rmpadjust(page, { targetVmpl: 2, permissions: 0, vmsa: true });
      return enterOnce(rig.host, vm, 'code of level 1’s choice at level 0', placeOf(vm, page));
    },
  },
  {
    id: 'vmpl1-uses-level-0-key',
    flow: 'privilege levels',
    modes,
    title: 'Code at VMPL1 says of its message that it is under the key of VMPL0',
    refusedBy: 'processor',
    at: 'BAD_MEASUREMENT',
    async run(_world, rig) {
      const { snp } = await rig.boot();
      const [key] = snp.lowerKeys;
      const payload = reportRequest.build({ reportData: freshData, vmpl: 0 });
      const message = await sealGuestMessage({ key, vmpck: 0, sequence: 1n, type: 'REPORT_REQ', payload });
      const { firmwareError } = await snp.transport.exchange(message, false);
      const name = statusName(firmwareError) ?? 'unknown status';
      return firmwareError === 0
        ? { refusedBy: 'nobody', at: 'a report as level 0', evidence: 'the processor answered' }
        : { refusedBy: 'processor', at: name, evidence: `SNP_GUEST_REQUEST answered ${name}` };
    },
  },
  asking(
    'vmpl1-asks-for-level-0-report',
    'Code at VMPL1 asks for a report that names VMPL0, under its own key',
    'a report as level 0',
    (device) => device.report({ reportData: freshData, vmpl: 0 }),
  ),
  asking(
    'vmpl1-asks-for-level-0-key',
    'Code at VMPL1 asks for a derived key of VMPL0, under its own key',
    'what level 0 has sealed',
    (device) => device.deriveKey({ root: 'VEK', fields: {}, vmpl: 0 }),
  ),
];

import { type AttestationDevice, type DerivedKeyRequest, seal, unseal } from '@vouchsafe/guest';
import type { SnpLaunchConfiguration } from '@vouchsafe/host';
import { generateP384, openSecret, type P384PrivateKey, systemRandom, toHex } from '@vouchsafe/sev';
import type { Outcome, SnpAttack } from '../attack.js';
import { flipped } from '../interfering-host.js';
import { guestOutcome } from '../outcome.js';
import { images } from '../sev/world.js';
import { configure, loadVlek, newer, newHashstick, older, tcbWord } from './platform.js';
import { olderGuest, type SnpRig, type SnpWorld, signedIdBlock } from './world.js';

/** Keys that a guest gets from the processor, and what it seals with them and leaves with its host. */

const modes = ['snp'] as const;
const content = (text: string) => new TextEncoder().encode(text);
const request: DerivedKeyRequest = { root: 'VEK', keySelection: 'VCEK', fields: { measurement: true } };

const sealed = (device: AttestationDevice, text: string, as = request) =>
  seal({ device, request: as, content: content(text), random: systemRandom });

async function opened(device: AttestationDevice, file: Uint8Array): Promise<string> {
  const secret = await unseal(device, file);
  try {
    return new TextDecoder().decode(openSecret(secret));
  } finally {
    secret.zero();
  }
}

type Changes = Partial<SnpLaunchConfiguration>;

/** A guest of the right kind seals a file; the host shows it to another, or to the same elsewhere. */
function sealedFile(
  id: string,
  title: string,
  [refusedBy, at]: readonly ['guest' | 'processor', string],
  scene: (
    world: SnpWorld,
    rig: SnpRig,
  ) => Promise<{
    readonly owner?: Changes;
    readonly request?: DerivedKeyRequest;
    /** What is different when the file is opened. */
    readonly later?: Changes;
    readonly elsewhere?: SnpRig;
    readonly before?: () => Promise<unknown>;
    readonly alter?: (file: Uint8Array) => Uint8Array;
  }>,
): SnpAttack {
  return {
    id,
    flow: 'keys',
    modes,
    title,
    refusedBy,
    at,
    async run(world, rig) {
      const { owner, request: as, later, elsewhere = rig, before, alter } = await scene(world, rig);
      const first = await rig.boot(owner);
      const file = await sealed(first.attestation, 'what only this guest may know', as);
      await opened(first.attestation, file);
      await first.vm.quit();
      await before?.();
      const { attestation } = await elsewhere.boot({ ...owner, ...later });
      return guestOutcome('what the guest had sealed', () => opened(attestation, alter?.(file) ?? file));
    },
  };
}

/** The same request on two chips: the same key, or another? */
function acrossChips(
  id: string,
  title: string,
  asked: DerivedKeyRequest,
  prepare?: (rigs: readonly SnpRig[]) => Promise<void>,
  limit?: SnpAttack['limit'],
): SnpAttack {
  const [same, other] = ['the same key on two chips', 'another key'] as const;
  return {
    id,
    flow: 'keys',
    modes,
    title,
    ...(limit === undefined
      ? { refusedBy: 'harmless', at: other }
      : { refusedBy: 'nobody', at: same, limit }),
    async run(world, rig): Promise<Outcome> {
      const rigs = [rig, await world.rig()] as const;
      await prepare?.(rigs);
      const keys: string[] = [];
      for (const each of rigs) {
        const { attestation } = await each.boot();
        const key = await attestation.deriveKey(asked);
        keys.push(toHex(openSecret(key)));
        key.zero();
      }
      const evidence = `the guests get ${keys.map((key) => `${key.slice(0, 8)}…`).join(' and ')}`;
      return keys[0] === keys[1]
        ? { refusedBy: 'nobody', at: same, evidence }
        : { refusedBy: 'harmless', at: other, evidence };
    },
  };
}

const idBlockOf = ({ measurement: launchDigest }: SnpWorld, guestSvn: number, idKey: P384PrivateKey) =>
  signedIdBlock({ launchDigest, guestSvn, idKey });

/** A guest that asks for more than it is. */
function excessive(
  id: string,
  title: string,
  ask: (rig: SnpRig, extent: 'fitting' | 'excessive') => DerivedKeyRequest,
  launch: (world: SnpWorld) => Promise<Changes> = async () => ({}),
): SnpAttack {
  return {
    id,
    flow: 'keys',
    modes,
    title,
    refusedBy: 'processor',
    at: 'INVALID_PARAM',
    async run(world, rig) {
      const { attestation } = await rig.boot(await launch(world));
      (await attestation.deriveKey(ask(rig, 'fitting'))).zero();
      return guestOutcome('a key of what the guest is not', () =>
        attestation.deriveKey(ask(rig, 'excessive')),
      );
    },
  };
}

export const snpKeyAttacks: readonly SnpAttack[] = [
  excessive(
    'key-above-current-version',
    'A guest on old firmware asks for a VCEK-rooted key of a TCB version above the current one',
    (rig, extent) => ({
      root: 'VEK',
      keySelection: 'VCEK',
      fields: { tcbVersion: true },
      tcbVersion: tcbWord(extent === 'fitting' ? rig.tcb : newer(rig.tcb)),
    }),
  ),
  excessive(
    'key-above-guest-svn',
    'An older guest asks for the key of a later security version than that of its ID block',
    (_rig, extent) => ({ root: 'VEK', fields: { guestSvn: true }, guestSvn: extent === 'fitting' ? 1 : 2 }),
    async (world) => ({ idBlock: await idBlockOf(world, 1, await generateP384()) }),
  ),
  sealedFile(
    'sealed-file-altered',
    'The host changes one bit of a sealed file',
    ['guest', 'wrong-sealing-key'],
    async () => ({ alter: (file) => flipped(file, file.length - 1) }),
  ),
  sealedFile(
    'sealed-file-on-another-chip',
    'The host takes a sealed file to another chip, and launches the same guest there',
    ['guest', 'wrong-sealing-key'],
    async (world) => ({ elsewhere: await world.rig() }),
  ),
  sealedFile(
    'sealed-file-for-another-guest',
    'The host shows a sealed file to a guest with another kernel',
    ['guest', 'wrong-sealing-key'],
    async () => {
      const { initrd, commandLine } = images;
      return { later: { directBoot: { kernel: flipped(images.kernel), initrd, commandLine } } };
    },
  ),
  sealedFile(
    'sealed-file-with-other-host-data',
    'The host launches the same guest with other host data, and shows it the sealed file',
    ['guest', 'wrong-sealing-key'],
    async () => ({ later: { hostData: new Uint8Array(32).fill(1) } }),
  ),
  sealedFile(
    'sealed-file-under-another-id-key',
    'The host signs an ID block for the same guest with a key of its own, and shows it the sealed file',
    ['guest', 'wrong-sealing-key'],
    async (world) => ({
      owner: { idBlock: await idBlockOf(world, 1, await generateP384()) },
      later: { idBlock: await idBlockOf(world, 1, await generateP384()) },
    }),
  ),
  sealedFile(
    'sealed-file-for-an-older-guest',
    'The host shows a sealed file to an older guest of the same owner, in which there is a known hole',
    ['processor', 'INVALID_PARAM'],
    async (world) => {
      const idKey = await generateP384();
      return {
        request: { ...request, fields: { guestSvn: true } },
        owner: { idBlock: await idBlockOf(world, 2, idKey) },
        later: await olderGuest(idKey, 1),
      };
    },
  ),
  sealedFile(
    'sealed-file-under-a-lower-version',
    'The host lowers the reported TCB version, to which the chip’s key belongs, and shows the guest its sealed file',
    ['guest', 'wrong-sealing-key'],
    async (_world, rig) => ({ before: () => configure(rig.host, { reportedTcb: older(rig.tcb) }) }),
  ),
  acrossChips(
    'vcek-rooted-key-on-another-chip',
    'The host launches the same guest on another chip, for the same VCEK-rooted key',
    request,
  ),
  acrossChips(
    'vmrk-rooted-key-on-another-chip',
    'The host launches the same guest on another chip, for the same VMRK-rooted key',
    { ...request, root: 'VMRK' },
  ),
  acrossChips(
    'vcek-rooted-key-beside-vlek',
    'The operator loads the same VLEK on two chips, for the same VCEK-rooted key',
    request,
    loadOneVlek,
  ),
  acrossChips(
    'vlek-rooted-key-on-another-chip',
    'The operator launches the same guest on another chip with the same VLEK, for the same key',
    { ...request, keySelection: 'VLEK' },
    loadOneVlek,
    {
      why: 'the VLEK is the operator’s, the same on all of its chips, and so are keys that are rooted in it',
      caughtBy:
        'a guest that selects the VCEK where a file is to stay on its chip (`guest seal --root vcek`)',
    },
  ),
  {
    id: 'disk-rolled-back',
    flow: 'keys',
    modes,
    title: 'The host puts an earlier state of a sealed disk back',
    refusedBy: 'nobody',
    at: 'a guest in yesterday’s state',
    limit: {
      why: 'the chip gives the same key for the same request, and has no memory that a guest could count in',
      caughtBy:
        'a number or a digest of the newest state that the owner’s key broker keeps, and gives to an attested guest',
    },
    async run(_world, rig) {
      const first = await rig.boot();
      const yesterday = await sealed(first.attestation, 'yesterday');
      await sealed(first.attestation, 'today');
      await first.vm.quit();
      const { attestation } = await rig.boot();
      const found = await opened(attestation, yesterday);
      return {
        refusedBy: 'nobody',
        at: `a guest in ${found}’s state`,
        evidence: 'the old file opens as before',
      };
    },
  },
  {
    id: 'guest-cloned',
    flow: 'keys',
    modes,
    title: 'The host launches the same guest twice at a time, on one chip and from one sealed disk',
    refusedBy: 'nobody',
    at: 'two guests that go on from one state',
    limit: {
      why: 'a derived key is bound to what a guest is, and both are the same',
      caughtBy:
        'REPORT_ID, which is new at every launch: an owner who wants one guest asks for it (`report.report-id`) and releases what only one may have once',
    },
    async run(_world, rig) {
      const first = await rig.boot();
      const file = await sealed(first.attestation, 'one state');
      const second = await rig.boot();
      const found = [await opened(first.attestation, file), await opened(second.attestation, file)];
      return found.every((each) => each === 'one state')
        ? { refusedBy: 'nobody', at: 'two guests that go on from one state', evidence: 'both open the file' }
        : { refusedBy: 'harmless', at: 'one guest', evidence: 'the second does not open it' };
    },
  },
];

async function loadOneVlek(rigs: readonly SnpRig[]): Promise<void> {
  const hashstick = newHashstick();
  for (const rig of rigs) await loadVlek(rig, hashstick);
  hashstick.zero();
}

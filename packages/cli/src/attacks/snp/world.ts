import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Chip,
  createSoftwareMachine,
  type GuestView,
  type HostMachine,
  machineProfiles,
  manufactureChip,
  type SoftwareMachine,
  type SoftwareMachineOptions,
  vcekEndorsementRequest,
} from '@vouchsafe/firmware';
import {
  type AttestationDevice,
  type BootedGuest,
  guestFirmwareProgram,
  type SnpServices,
} from '@vouchsafe/guest';
import { type SnpLaunchConfiguration, type SoftwareSnpMachine, softwareLauncher } from '@vouchsafe/host';
import {
  type DevelopmentAuthorityOptions,
  type EndorsementAuthority,
  openDevelopmentAuthority,
} from '@vouchsafe/kds';
import {
  type Appraisal,
  calculateSnpLaunchDigest,
  createIdBlock,
  type EndorsementRoot,
  type IdBlockKeys,
  type NewIdBlock,
  type P384PrivateKey,
  type ReportAllowances,
  type ReportExpectations,
  type RevocationMode,
  systemRandom,
  type TcbVersion,
  UnavailableError,
  vcpuSignatureOf,
  verifyReport,
} from '@vouchsafe/sev';
import { flipped, type Interference, interferingHost } from '../interfering-host.js';
import { exchanged, images } from '../sev/world.js';

/** What the attacks on SEV-SNP stand on: a development authority, and a verifier who trusts it and nothing else. */
export interface SnpWorld {
  readonly authority: EndorsementAuthority;
  /** The launch digest that the verifier expects, 48 bytes: that of the owner's images. */
  readonly measurement: Uint8Array;
  /** A new machine, whose chip the authority endorses. */
  rig(options?: SnpRigOptions): Promise<SnpRig>;
  /** Appraises a report of a rig's chip as a verifier does who expects the owner's images and fresh report data. */
  verify(report: Uint8Array, rig: SnpRig, options?: VerifyOptions): Promise<Appraisal>;
  /** The same authority, on a day of its own: what it does then, this one does not know of. */
  authorityAt(now: () => number): Promise<EndorsementAuthority>;
  /** Another authority, which nobody trusts. */
  strangeAuthority(): Promise<EndorsementAuthority>;
  close(): Promise<void>;
}

export interface VerifyOptions extends ReportAllowances {
  /** Added to the launch digest, report data and privilege level that the verifier expects. */
  readonly expectations?: ReportExpectations;
  /** The certificate of the VEK that the host hands over; that of the chip's reported TCB version unless given. */
  readonly vek?: Uint8Array;
  /** Who the certificates are from; the world's authority unless given. */
  readonly authority?: EndorsementAuthority;
  readonly roots?: readonly EndorsementRoot[];
  /** The revocation lists that the host hands over; a fresh one unless given. */
  readonly crls?: readonly Uint8Array[];
  readonly revocation?: RevocationMode;
  readonly at?: number;
}

export interface SnpRigOptions {
  readonly profile?: SoftwareMachineOptions['profile'];
  /** A chip that was in another machine before, or in this one before it was switched off. */
  readonly chip?: Chip;
}

/** One host with its machine: everything in it is in the attacker's hands but what the silicon keeps to itself. */
export interface SnpRig {
  readonly chip: Chip;
  readonly machine: SoftwareMachine;
  /** Drives it honestly, but for `interference`. There is one, because it knows which memory is in use. */
  readonly host: HostMachine;
  /** What the host does otherwise, from the moment on at which an attack puts it here. */
  readonly interference: Interference;
  readonly tcb: TcbVersion;
  /** The certificate of its VCEK, for the TCB version that it runs unless another is named. */
  vcek(tcb?: TcbVersion): Promise<Uint8Array>;
  /** Loads the owner's images, with changes. The guest does not run before it is resumed. */
  load(changes?: Partial<SnpLaunchConfiguration>): Promise<SoftwareSnpMachine>;
  /** Loads, and lets the guest boot. Rejects with what it gave up for, or what the processor refused. */
  boot(changes?: Partial<SnpLaunchConfiguration>): Promise<BootedSnpGuest>;
  /** Switches the machine off, and on again with the same chip. */
  restart(profile?: SoftwareMachineOptions['profile']): Promise<SnpRig>;
}

/** A guest that has booted, and from inside does what an attack's victim does. */
export interface BootedSnpGuest {
  readonly vm: SoftwareSnpMachine;
  readonly guest: BootedGuest;
  readonly snp: SnpServices;
  readonly attestation: AttestationDevice;
  /** Its boot vCPU. */
  readonly view: GuestView;
}

const { initrd, commandLine } = images;
const olderKernel = flipped(images.kernel, 1);

/** An older guest of the owner's, who signed for it then, with the security version of that time. */
export async function olderGuest(
  idKey: P384PrivateKey,
  guestSvn: number,
): Promise<Pick<SnpLaunchConfiguration, 'directBoot' | 'idBlock'>> {
  return {
    directBoot: { kernel: olderKernel, initrd, commandLine },
    idBlock: await signedIdBlock({ idKey, guestSvn, launchDigest: await measurementWith(olderKernel) }),
  };
}

/** What an owner signs for a guest, ready for its launch. */
export async function signedIdBlock(
  given: Pick<NewIdBlock, 'launchDigest' | 'guestSvn'> & IdBlockKeys,
): Promise<NonNullable<SnpLaunchConfiguration['idBlock']>> {
  const made = await createIdBlock({ policy: ownerPolicy, ...given });
  return { block: made.idBlock, authentication: made.idAuthentication };
}

/** What guests put into their reports, fresh for the verifier of this moment: 64 bytes. */
export const freshData: Uint8Array = new Uint8Array(64).fill(0x5a);

export const ownerPolicy = 0x3_0000n;
const mebibyte = 1024 * 1024;
const vcpuSignature = vcpuSignatureOf('EPYC-Milan');

export type SnpWorldOptions = Pick<DevelopmentAuthorityOptions, 'generateKeys'>;

export async function createSnpWorld({ generateKeys }: SnpWorldOptions = {}): Promise<SnpWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'vouchsafe-attacks-'));
  const authority = await openAuthority('authority');
  const machines: SoftwareMachine[] = [];
  let copies = 0;

  async function openAuthority(name: string, options: Partial<DevelopmentAuthorityOptions> = {}) {
    const { snp } = await openDevelopmentAuthority({
      folder: join(folder, name),
      generation: 'milan',
      ...(generateKeys === undefined ? {} : { generateKeys }),
      ...options,
    });
    if (snp === undefined) throw new UnavailableError('authority', 'it does not endorse SEV-SNP');
    return snp;
  }

  const world: SnpWorld = {
    authority,
    measurement: await measurementWith(images.kernel),
    async rig(options = {}) {
      const rig = createSnpRig(world, options, (machine) => machines.push(machine));
      return rig;
    },
    async verify(report, rig, options = {}) {
      const { expectations, vek, authority: from = authority, crls, at = Date.now(), ...rest } = options;
      const list = await from.findEndorsement({ what: 'crl', kind: 'VCEK', line: from.line });
      const evidence = {
        report,
        vek: vek ?? (await rig.vcek()),
        certificates: [from.ask, from.ark],
        crls: crls ?? (list === undefined ? [] : [list]),
      };
      return verifyReport(evidence, {
        roots: [authority.root],
        revocation: 'require',
        at,
        ...rest,
        expectations: {
          measurements: [world.measurement],
          reportData: freshData,
          vmpl: 0,
          ...expectations,
        },
      });
    },
    async authorityAt(now) {
      copies += 1;
      await cp(join(folder, 'authority'), join(folder, `copy-${copies}`), { recursive: true });
      return openAuthority(`copy-${copies}`, { now });
    },
    strangeAuthority: () =>
      openAuthority('stranger', generateKeys && { generateKeys: exchanged(generateKeys) }),
    async close() {
      for (const machine of machines) await machine.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return world;
}

/** The launch digest of the owner's guest with a kernel, computed from the files alone as the owner does: 48 bytes. */
async function measurementWith(kernel: Uint8Array): Promise<Uint8Array> {
  const { firmware, initrd, commandLine } = images;
  const files = { firmware, kernel, initrd, append: commandLine };
  return (await calculateSnpLaunchDigest({ ...files, vcpus: 1, vcpuSignature })).digest;
}

/** What an honest host launches. */
function ownersConfiguration(): SnpLaunchConfiguration {
  const { firmware, kernel, initrd, commandLine } = images;
  return {
    mode: 'snp',
    policy: ownerPolicy,
    firmware,
    directBoot: { kernel, initrd, commandLine },
    vcpus: 1,
    vcpuSignature,
    memory: 2 * mebibyte,
  };
}

function createSnpRig(
  world: SnpWorld,
  { profile, chip = manufactureChip({ random: systemRandom, generation: 'milan' }) }: SnpRigOptions,
  made: (machine: SoftwareMachine) => void,
): SnpRig {
  const machine = createSoftwareMachine({
    chip,
    random: systemRandom,
    memory: 16 * mebibyte,
    ...(profile === undefined ? {} : { profile }),
  });
  made(machine);
  const interference: Interference = {};
  const host = interferingHost(machine.host, interference);
  const tcb = profile?.snp?.currentTcb ?? machineProfiles.milan.snp!.currentTcb;

  async function load(changes: Partial<SnpLaunchConfiguration> = {}) {
    return softwareLauncher(host).launchSnp({ ...ownersConfiguration(), ...changes });
  }

  return {
    chip,
    machine,
    host,
    interference,
    tcb,
    vcek: (of = tcb) => world.authority.endorseVcek(vcekEndorsementRequest(chip, of)),
    load,
    async boot(changes) {
      const vm = await load(changes);
      return bootGuest(machine, vm, changes?.firmware);
    },
    async restart(newProfile) {
      await machine.close();
      return world.rig({ chip, ...(newProfile === undefined ? {} : { profile: newProfile }) });
    },
  };
}

/** Lets a loaded guest boot. Its init never ends: what it does is up to the attack. */
export async function bootGuest(
  machine: SoftwareMachine,
  vm: SoftwareSnpMachine,
  image: Uint8Array = images.firmware,
): Promise<BootedSnpGuest> {
  const booted = new Promise<BootedSnpGuest>((resolve, reject) => {
    vm.onEvent((event) => {
      if (event.type === 'ended') reject(new UnavailableError('guest', event.detail ?? event.reason));
    });
    machine.insertGuest(async (view) => {
      const program = guestFirmwareProgram({
        image,
        init: (guest) => {
          const { snp, attestation } = guest;
          if (snp !== undefined && attestation !== undefined) resolve({ vm, guest, snp, attestation, view });
          return new Promise(() => undefined);
        },
        onFailure: reject,
      });
      await program(view);
    }, vm.asid);
  });
  booted.catch(() => undefined);
  await vm.resume();
  return booted;
}

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createGuestOwner, diskKey, type GuestOwner, type GuestOwnerOptions } from '@vouchsafe/broker';
import {
  type Chip,
  chipEndorsementRequest,
  createSoftwareMachine,
  type HostMachine,
  manufactureChip,
  type SoftwareMachine,
  type SoftwareMachineOptions,
} from '@vouchsafe/firmware';
import { buildGuestFirmware, guestFirmwareProgram, unlockDiskInit } from '@vouchsafe/guest';
import {
  type LaunchConfiguration,
  type Platform,
  type SoftwareVirtualMachine,
  softwareLauncher,
  softwarePlatform,
} from '@vouchsafe/host';
import {
  type DevelopmentAuthority,
  type DevelopmentAuthorityOptions,
  openDevelopmentAuthority,
} from '@vouchsafe/kds';
import type { LaunchBundle, LaunchRequest, MeasurementEvidence } from '@vouchsafe/protocol';
import {
  buildGuestPolicy,
  concat,
  openSecret,
  parseLaunchMeasurement,
  Secret,
  systemRandom,
  vcpuSignatureOf,
} from '@vouchsafe/sev';

/** The files that the owner trusts, small and made up: what they hold does not matter to an attack. */
const text = (content: string) => new TextEncoder().encode(content);
export const images = {
  firmware: buildGuestFirmware(),
  kernel: text('a kernel that is made up\n'.repeat(64)),
  initrd: text('an initrd that is made up\n'.repeat(64)),
  commandLine: 'console=ttyS0 root=/dev/mapper/root',
} as const;

const vcpuType = 'EPYC-Milan';
const disk = 'correct horse battery staple, thirty-two times over';

/** What every attack of one run stands on: a development authority, and owners who trust it and nothing else. */
export interface World {
  readonly mode: 'sev' | 'sev-es';
  /** NODBG, NOKS, NOSEND, a least API of 1.51, and ES where the mode is SEV-ES. */
  readonly policy: number;
  readonly authority: DevelopmentAuthority;
  owner(options?: Partial<GuestOwnerOptions>): Promise<GuestOwner>;
  /** A new machine whose chip the authority has endorsed. */
  rig(options?: RigOptions): Promise<Rig>;
  /** Another authority, which nobody trusts. */
  strangeAuthority(): Promise<DevelopmentAuthority>;
  close(): Promise<void>;
}

export type RigOptions = Partial<Pick<SoftwareMachineOptions, 'memory' | 'profile'>>;

/** One host with its machine: everything in it is in the attacker's hands but what the silicon keeps to itself. */
export interface Rig {
  readonly chip: Chip;
  readonly machine: SoftwareMachine;
  readonly host: HostMachine;
  readonly platform: Platform;
  /** What an honest host would say to the owner, case B. */
  readonly request: Extract<LaunchRequest, { case: 'B' }>;
  /** What the guest got: its disk key, and what it printed or why it gave up. */
  readonly guest: { diskKey?: string; console: string[]; failure?: string };
  /** Asks for a session with the honest request, and launches what the bundle says, with changes. */
  launch(owner: GuestOwner, changes?: Partial<LaunchConfiguration>, host?: HostMachine): Promise<Launched>;
}

export interface Launched {
  readonly bundle: LaunchBundle;
  readonly vm: SoftwareVirtualMachine;
  /** What an honest host would report. */
  readonly evidence: MeasurementEvidence;
}

type GenerateKeys = NonNullable<DevelopmentAuthorityOptions['generateKeys']>;

export type WorldOptions = Pick<World, 'mode'> & Pick<DevelopmentAuthorityOptions, 'generateKeys'>;

export async function createWorld({ mode, generateKeys }: WorldOptions): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'vouchsafe-attacks-'));
  const openAuthority = (name: string, keys = generateKeys) =>
    openDevelopmentAuthority({
      folder: join(folder, name),
      generation: 'milan',
      ...(keys === undefined ? {} : { generateKeys: keys }),
    });
  const authority = await openAuthority('authority');
  const policy = buildGuestPolicy({
    noDebug: true,
    noKeySharing: true,
    noSend: true,
    encryptedState: mode === 'sev-es',
    apiMajor: 1,
    apiMinor: 51,
  });
  const secret = Secret.take(text(disk));
  const rigs: SoftwareMachine[] = [];
  const owners: GuestOwner[] = [];
  let stranger: Promise<DevelopmentAuthority> | undefined;

  return {
    mode,
    policy,
    authority,
    async owner(options = {}) {
      const { kernel, initrd, commandLine, firmware } = images;
      const made = await createGuestOwner({
        roots: [authority.root],
        policy,
        images: [
          {
            name: 'the demo machine',
            firmware,
            directBoot: { kernel, initrd, commandLine },
            ...(mode === 'sev' ? {} : { vcpus: [1], vcpuTypes: [vcpuType] }),
          },
        ],
        secrets: [diskKey(secret)],
        random: systemRandom,
        now: () => Date.now(),
        ...options,
      });
      owners.push(made);
      return made;
    },
    async rig(options = {}) {
      const rig = await createRig(authority, options);
      rigs.push(rig.machine);
      return rig;
    },
    strangeAuthority() {
      stranger ??= openAuthority('stranger', generateKeys && exchanged(generateKeys));
      return stranger;
    },
    async close() {
      for (const owner of owners) await owner.close();
      for (const machine of rigs) await machine.close();
      secret.zero();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Where keys are given, the stranger has the same two in each other's places, and so none of them where it counts. */
export function exchanged(generateKeys: GenerateKeys): GenerateKeys {
  return async (generation) => {
    const { ark, ask } = await generateKeys(generation);
    return { ark: ask, ask: ark };
  };
}

/** Whether the guest holds the very key that the owner released. */
export const isDiskKey = (found: string | undefined) => found === disk;

async function createRig(authority: DevelopmentAuthority, options: RigOptions): Promise<Rig> {
  const chip = manufactureChip({ random: systemRandom, generation: 'milan' });
  const { chipId, unsignedCek } = chipEndorsementRequest(chip);
  const signedCek = await authority.endorse(chipId, unsignedCek);
  const machine = createSoftwareMachine({ chip, random: systemRandom, memory: 64 * 1024 * 1024, ...options });
  const platform = softwarePlatform(machine.host);
  const { pdh, chain } = await platform.export();
  const { apiMajor, apiMinor, build } = await platform.status();

  const request: Rig['request'] = {
    case: 'B',
    apiMajor,
    apiMinor,
    buildId: build,
    pdh,
    certificateChain: withSignedCek(chain, signedCek),
    certificateAuthority: concat(authority.ask, authority.ark),
  };
  const guest: Rig['guest'] = { console: [] };
  const program = guestFirmwareProgram({
    init: unlockDiskInit({
      unlock: async (key) => {
        guest.diskKey = new TextDecoder().decode(openSecret(key));
        return 'the disk is unlocked';
      },
    }),
    onConsole: (line) => guest.console.push(line),
    onFailure: (error) => {
      guest.failure = error.message;
    },
  });
  machine.insertGuest(program);

  return {
    chip,
    machine,
    host: machine.host,
    platform,
    guest,
    request,
    async launch(owner, changes = {}, host = machine.host) {
      const { bundle } = await owner.openSession(request);
      if (bundle === undefined) throw new TypeError('the owner refused an honest platform');
      const vm = await softwareLauncher(host).launch({
        ...configurationOf(bundle),
        memory: 8 * 1024 * 1024,
        ...changes,
      });
      return { bundle, vm, evidence: await evidenceOf(bundle, vm) };
    },
  };
}

/** What an honest host launches for a bundle. */
export function configurationOf(bundle: LaunchBundle): LaunchConfiguration {
  const { firmware, kernel, initrd, commandLine } = images;
  return {
    mode: bundle.mode,
    policy: bundle.policy,
    channel: { godhCertificate: bundle.godhCertificate, session: bundle.session },
    firmware,
    directBoot: { kernel, initrd, commandLine },
    vcpus: 1,
    vcpuSignature: vcpuSignatureOf(vcpuType),
  };
}

export async function evidenceOf(
  bundle: LaunchBundle,
  vm: SoftwareVirtualMachine,
): Promise<MeasurementEvidence> {
  const { apiMajor, apiMinor, buildId, policy } = await vm.information();
  const measurement = await vm.launchMeasurement();
  parseLaunchMeasurement(measurement);
  return { launchId: bundle.launchId, measurement, apiMajor, apiMinor, buildId, policy };
}

/** PEK‖OCA‖CEK with the CEK that AMD, or here the authority, has signed. */
export function withSignedCek(chain: Uint8Array, signedCek: Uint8Array): Uint8Array {
  return concat(chain.subarray(0, chain.length - signedCek.length), signedCek);
}

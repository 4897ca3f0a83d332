import { createSoftwareMachine, manufactureChip } from '@vouchsafe/firmware';
import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { type BootedGuest, buildGuestFirmware, guestFirmwareProgram } from '@vouchsafe/guest';
import {
  buildSecretPacket,
  buildSecretTable,
  calculateLaunchDigest,
  createLaunchSession,
  type Generation,
  type LaunchSession,
  measureLaunch,
  openSecret,
  p384KeyOf,
  parseLaunchMeasurement,
  parseSevCertificate,
  type SecretPacket,
  systemRandom,
  vcpuSignatureOf,
  wellKnownSecretGuids,
} from '@vouchsafe/sev';
import { onTestFinished } from 'vitest';
import { deferred } from '../deferred.js';
import type { ConfidentialMachine, LaunchConfiguration } from '../launch/launcher.js';
import { softwarePlatform } from '../platform/software.js';

const mebibyte = 1024 * 1024;
export const policies = { sev: 0x01, 'sev-es': 0x05 } as const;
export const diskKey = new TextEncoder().encode('correct horse battery staple');

/** What the guest of a test found when it came up: the disk key, or that there is none. */
export interface GuestSighting {
  readonly diskKey: Uint8Array | undefined;
  readonly commandLine: string | undefined;
}

/** A software machine whose guests boot the project's firmware and say what they found. Gone when the test is over. */
export function launchMachine(generation: Generation = 'milan') {
  const chip = manufactureChip({ random: systemRandom, generation });
  const machine = createSoftwareMachine({ chip, random: systemRandom, memory: 16 * mebibyte });
  onTestFinished(() => machine.close());
  const seen = deferred<GuestSighting>();
  machine.insertGuest(guestFirmwareProgram({ init: async (guest) => seen.resolve(await lookAround(guest)) }));
  return { host: machine.host, insertGuest: machine.insertGuest, seen: seen.promise };
}

async function lookAround(guest: BootedGuest): Promise<GuestSighting> {
  await guest.print('guest is up');
  const commandLine = guest.files?.commandLine;
  const secrets = await guest.openSecrets().catch(() => undefined);
  if (secrets === undefined) return { diskKey: undefined, commandLine };
  const found = await secrets.read(wellKnownSecretGuids.luksKey);
  return { diskKey: openSecret(found).slice(), commandLine };
}

export interface Owner {
  readonly session: LaunchSession;
  readonly configuration: LaunchConfiguration;
  /** The measurement (32 bytes) that the expected launch would have with this nonce, on this platform. */
  expectedMeasurement(machine: ConfidentialMachine, mnonce: Uint8Array): Promise<Uint8Array>;
  /** The disk key, for the launch with this blob. */
  packet(machine: ConfidentialMachine): Promise<SecretPacket>;
}

export type OwnersWishes = Partial<Omit<LaunchConfiguration, 'channel'>>;

/** A guest owner who trusts the platform unseen: it makes a session, and knows what the measurement must be. */
export async function makeOwner(host: HostMachine, wishes: OwnersWishes = {}): Promise<Owner> {
  const { mode = 'sev', policy = policies[mode] } = wishes;
  const { pdh } = await softwarePlatform(host).export();
  const session = await createLaunchSession({
    pdh: p384KeyOf(parseSevCertificate(pdh)),
    policy,
    random: systemRandom,
  });
  const configuration: LaunchConfiguration = {
    firmware: buildGuestFirmware(),
    vcpus: 1,
    vcpuSignature: vcpuSignatureOf('EPYC-Milan'),
    memory: 2 * mebibyte,
    ...wishes,
    mode,
    policy,
    channel: { godhCertificate: session.godhCertificate, session: session.session },
  };

  async function versionOf(machine: ConfidentialMachine) {
    const { apiMajor, apiMinor, buildId } = await machine.information();
    return { apiMajor, apiMinor, buildId };
  }

  return {
    session,
    configuration,
    async expectedMeasurement(machine, mnonce) {
      const { firmware, directBoot, vcpus, vcpuSignature } = configuration;
      const { digest } = await calculateLaunchDigest({
        mode: mode === 'sev' ? 'sev' : 'seves',
        firmware,
        vcpus,
        vcpuSignature,
        ...(directBoot === undefined ? {} : { kernel: directBoot.kernel }),
        ...(directBoot?.initrd === undefined ? {} : { initrd: directBoot.initrd }),
        ...(directBoot?.commandLine === undefined ? {} : { append: directBoot.commandLine }),
      });
      const version = await versionOf(machine);
      return measureLaunch({ tik: session.tik, ...version, policy, launchDigest: digest, mnonce });
    },
    async packet(machine) {
      const { measurement } = parseLaunchMeasurement(await machine.launchMeasurement());
      const plaintext = buildSecretTable([{ guid: wellKnownSecretGuids.luksKey, data: diskKey }]);
      const { tek, tik } = session;
      const version = await versionOf(machine);
      return buildSecretPacket({ tek, tik, iv: systemRandom(16), measurement, plaintext, ...version });
    },
  };
}

/** Not the image whose code the guest's program is: the program sees that, and gives up. */
export function alteredFirmware(): Uint8Array {
  const image = buildGuestFirmware();
  return image.with(0x3000, image[0x3000]! ^ 1);
}

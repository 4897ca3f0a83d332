import { guestFeatureBits, InvalidArgumentError, toBase64, vcpuSignatureOf, vcpuTypes } from '@vouchsafe/sev';
import type { SnpLaunchConfiguration } from '../launch/launcher.js';
import { hasAuthorKey } from '../launch/snp-owner-parts.js';

/** Files that QEMU is told to read, and the socket that it is told to make. */
export interface QemuFiles {
  readonly qmpSocket: string;
  readonly firmware: string;
  /** Base64 text each. */
  readonly channel?: { readonly godhCertificate: string; readonly session: string };
  readonly directBoot?: { readonly kernel: string; readonly initrd?: string; readonly commandLine?: string };
}

interface CommonQemuGuest {
  readonly vcpus: number;
  /** CPUID 1 EAX. */
  readonly vcpuSignature: number;
  /** Bytes. */
  readonly memory: number;
  /** As query-sev-capabilities says. */
  readonly cBitPosition: number;
  readonly reducedPhysBits: number;
}

export interface QemuGuest extends CommonQemuGuest {
  readonly policy: number;
}

export type QemuSnpGuest = CommonQemuGuest &
  Pick<
    SnpLaunchConfiguration,
    'policy' | 'guestFeatures' | 'idBlock' | 'hostData' | 'vcekDisabled' | 'guestVisibleWorkarounds'
  >;

/** Arguments of a QEMU without a machine, which can only be asked what the host can do. */
export function probeArguments(qmpSocket: string): string[] {
  return ['-machine', 'none,accel=kvm', ...bare, ...qmp(qmpSocket)];
}

/** Arguments of a QEMU that loads and measures a confidential guest and waits before its first instruction (`-S`). */
export function qemuArguments(guest: QemuGuest, files: QemuFiles): string[] {
  const { channel, directBoot } = files;
  const sevGuest = options('sev-guest', {
    id: 'sev0',
    cbitpos: guest.cBitPosition,
    'reduced-phys-bits': guest.reducedPhysBits,
    policy: `0x${guest.policy.toString(16)}`,
    'dh-cert-file': channel?.godhCertificate,
    'session-file': channel?.session,
    'kernel-hashes': directBoot === undefined ? undefined : 'on',
  });
  const flash = { format: 'raw', unit: 0, readonly: 'on', file: files.firmware };
  return commandLineOf(guest, files, sevGuest, ['-drive', options('if=pflash', flash)]);
}

/**
 * The same for SEV-SNP, QEMU 9.1 and later. KVM keeps the guest's memory away from QEMU, so firmware cannot be a flash
 * device, and what the owner signed goes into the command line itself.
 * @throws InvalidArgumentError for features of the guest that QEMU has no property for
 */
export function qemuSnpArguments(guest: QemuSnpGuest, files: Omit<QemuFiles, 'channel'>): string[] {
  const { policy, idBlock, hostData, vcekDisabled, guestVisibleWorkarounds } = guest;
  const base64 = (bytes: Uint8Array | undefined) => bytes && toBase64(bytes);
  const sevSnpGuest = options('sev-snp-guest', {
    id: 'sev0',
    cbitpos: guest.cBitPosition,
    'reduced-phys-bits': guest.reducedPhysBits,
    policy: `0x${policy.toString(16)}`,
    'guest-visible-workarounds': base64(guestVisibleWorkarounds),
    'id-block': base64(idBlock?.block),
    'id-auth': base64(idBlock?.authentication),
    'author-key-enabled': idBlock && hasAuthorKey(idBlock.authentication) ? 'on' : undefined,
    'vcek-disabled': vcekDisabled ? 'on' : undefined,
    'host-data': base64(hostData),
    'kernel-hashes': files.directBoot === undefined ? undefined : 'on',
    'secure-tsc': wantsSecureTsc(guest.guestFeatures) ? 'on' : undefined,
  });
  return commandLineOf(guest, files, sevSnpGuest, ['-bios', files.firmware]);
}

/** SNPActive is always on; of the others QEMU knows one by name. */
function wantsSecureTsc(features = 1n): boolean {
  const secureTsc = guestFeatureBits.build({ snpActive: true, secureTsc: true });
  if (features === 1n || features === secureTsc) return features === secureTsc;
  throw new InvalidArgumentError('guest features', `0x${features.toString(16)} cannot be told to QEMU`, {
    hint: `give 0x1, or 0x${secureTsc.toString(16)} for SecureTSC`,
  });
}

function commandLineOf(
  guest: CommonQemuGuest,
  { directBoot, qmpSocket }: QemuFiles,
  sevObject: string,
  firmware: readonly string[],
): string[] {
  const boot =
    directBoot === undefined
      ? []
      : [
          ...['-kernel', directBoot.kernel],
          ...(directBoot.initrd === undefined ? [] : ['-initrd', directBoot.initrd]),
          ...(directBoot.commandLine === undefined ? [] : ['-append', directBoot.commandLine]),
        ];
  return [
    ...['-machine', 'q35,accel=kvm,vmport=off,confidential-guest-support=sev0'],
    ...['-object', sevObject],
    ...['-cpu', cpuModel(guest.vcpuSignature)],
    ...['-smp', String(guest.vcpus)],
    ...['-m', `${guest.memory / 1024}K`],
    ...bare,
    '-no-reboot',
    ...firmware,
    ...boot,
    ...qmp(qmpSocket),
  ];
}

/** Nothing that the command line does not name, and stopped. */
const bare = ['-nodefaults', '-no-user-config', '-display', 'none', '-S'];

function qmp(socket: string): string[] {
  return ['-qmp', options(`unix:${escaped(socket)}`, { server: 'on', wait: 'off' })];
}

/** Name of QEMU's model with this signature, the one without a version. */
function cpuModel(signature: number): string {
  const name = Object.keys(vcpuTypes).find((type) => vcpuSignatureOf(type) === signature);
  if (name !== undefined) return name;
  throw new InvalidArgumentError(
    'vCPU signature',
    `0x${signature.toString(16)} belongs to no CPU model of QEMU`,
    {
      hint: `take the signature of one of ${Object.keys(vcpuTypes).join(', ')}`,
    },
  );
}

function options(first: string, values: Readonly<Record<string, string | number | undefined>>): string {
  const given = Object.entries(values).filter(([, value]) => value !== undefined);
  return [first, ...given.map(([name, value]) => `${name}=${escaped(String(value))}`)].join(',');
}

/** In QEMU's option lists a comma in a value is written twice. */
function escaped(value: string): string {
  return value.replaceAll(',', ',,');
}

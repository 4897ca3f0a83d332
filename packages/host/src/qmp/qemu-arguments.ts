import { InvalidArgumentError, vcpuSignatureOf, vcpuTypes } from '@vouchsafe/sev';

/** Files that QEMU is told to read, and the socket that it is told to make. */
export interface QemuFiles {
  readonly qmpSocket: string;
  readonly firmware: string;
  /** Base64 text each. */
  readonly channel?: { readonly godhCertificate: string; readonly session: string };
  readonly directBoot?: { readonly kernel: string; readonly initrd?: string; readonly commandLine?: string };
}

export interface QemuGuest {
  readonly policy: number;
  readonly vcpus: number;
  /** CPUID 1 EAX. */
  readonly vcpuSignature: number;
  /** Bytes. */
  readonly memory: number;
  /** As query-sev-capabilities says. */
  readonly cBitPosition: number;
  readonly reducedPhysBits: number;
}

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
    ...['-object', sevGuest],
    ...['-cpu', cpuModel(guest.vcpuSignature)],
    ...['-smp', String(guest.vcpus)],
    ...['-m', `${guest.memory / 1024}K`],
    ...bare,
    '-no-reboot',
    ...['-drive', options('if=pflash', { format: 'raw', unit: 0, readonly: 'on', file: files.firmware })],
    ...boot,
    ...qmp(files.qmpSocket),
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

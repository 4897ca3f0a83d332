import { digest } from '../crypto/index.js';
import { InvalidArgumentError } from '../errors.js';
import { type LaunchArea, parseFirmwareFooter } from './firmware-footer.js';
import { buildHashesTable, hashesTable } from './hashes-table.js';
import { requireResetAddress, requireVcpuCount } from './vcpu-count.js';
import type { VmsaFpu } from './vmm-types.js';
import { buildResetVmsa, vmsa } from './vmsa.js';

export interface LaunchDigestOptions {
  /** `sev` measures memory only, `seves` the first state of each vCPU as well. */
  readonly mode: 'sev' | 'seves';
  /** The file that QEMU maps as firmware: the code volume, not the variables. */
  readonly firmware: Uint8Array;
  /** Given with `kernel-hashes=on`; QEMU's default leaves kernel, initrd and command line unmeasured. */
  readonly kernel?: Uint8Array;
  readonly initrd?: Uint8Array;
  /** The kernel's command line, exactly as given to QEMU. */
  readonly append?: string;
  /** SEV-ES: how many vCPUs. Without meaning for SEV. */
  readonly vcpus?: number;
  /** SEV-ES: CPUID function 1, EAX. */
  readonly vcpuSignature?: number;
  /** SEV-ES: whether the host's KVM puts the FPU's reset values into the VMSA (about Linux 6.10 and later) or zeros. */
  readonly vmsaFpu?: VmsaFpu;
  /** SEV-ES: SEV_FEATURES; 0 unless said otherwise. A host with debug register swapping has 0x20 there. */
  readonly sevFeatures?: bigint;
  /** SEV-ES: VMSA pages of 4096 bytes to use instead, one for each vCPU, the boot CPU's first. */
  readonly vmsas?: readonly Uint8Array[];
}

/** One piece of what is measured. */
export interface LaunchDigestPart {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface LaunchDigest {
  /** 32 bytes. */
  readonly digest: Uint8Array;
  /** In the order of measurement. */
  readonly parts: readonly LaunchDigestPart[];
}

/**
 * The launch digest of SEV and SEV-ES as QEMU and KVM make it: SHA-256 over firmware image ‖ hashes table, with a kernel
 * ‖ VMSA pages, for SEV-ES.
 * @throws InvalidArgumentError when the guest described cannot be launched or cannot be measured
 * @throws MalformedError when the firmware's footer table is needed and broken
 */
export async function calculateLaunchDigest(options: LaunchDigestOptions): Promise<LaunchDigest> {
  const firmware = requireMeasurableFirmware(options.firmware);
  const parts = [
    { name: 'firmware', bytes: firmware },
    ...(await hashesPart(options)),
    ...(options.mode === 'seves' ? vmsaParts(options) : []),
  ];
  return { digest: await digest('sha256', ...parts.map(({ bytes }) => bytes)), parts };
}

export interface LaunchPartSummary {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** 32 bytes. */
  readonly sha256: Uint8Array;
}

/** What each part is by itself, to find the one that differs from what was expected. */
export function summarizeLaunchParts(parts: readonly LaunchDigestPart[]): Promise<LaunchPartSummary[]> {
  return Promise.all(
    parts.map(async ({ name, bytes }) => ({
      name,
      size: bytes.length,
      sha256: await digest('sha256', bytes),
    })),
  );
}

async function hashesPart({
  firmware,
  kernel,
  initrd,
  append,
}: LaunchDigestOptions): Promise<LaunchDigestPart[]> {
  if (kernel === undefined) {
    const orphan = initrd !== undefined ? 'initrd' : append !== undefined ? 'append' : undefined;
    if (orphan !== undefined)
      throw new InvalidArgumentError(orphan, 'it is measured only together with a kernel');
    return [];
  }
  requireRoomForHashes(firmware);
  return [{ name: 'hashes table', bytes: await buildHashesTable({ kernel, initrd, commandLine: append }) }];
}

/** @throws InvalidArgumentError for an image that LAUNCH_UPDATE_DATA does not take */
export function requireMeasurableFirmware(firmware: Uint8Array): Uint8Array {
  if (firmware.length === 0 || firmware.length % 16 !== 0) {
    throw new InvalidArgumentError(
      'firmware',
      `expected a non-zero multiple of 16 bytes, found ${firmware.length}`,
    );
  }
  return firmware;
}

/**
 * Where the firmware looks for the hashes of a kernel that QEMU boots directly.
 * @throws InvalidArgumentError when it would not check a kernel
 */
export function requireRoomForHashes(firmware: Uint8Array): LaunchArea {
  const { hashTableArea } = parseFirmwareFooter(firmware);
  if (hashTableArea === undefined || hashTableArea.size < hashesTable.size) {
    throw new InvalidArgumentError(
      'kernel',
      'the firmware has no room for a hashes table, so it would not check the kernel',
      {
        hint: 'use a firmware built for measured direct boot, such as the AmdSev build of OVMF',
      },
    );
  }
  return hashTableArea;
}

function vmsaParts(options: LaunchDigestOptions): LaunchDigestPart[] {
  const pages = options.vmsas ?? buildVmsas(options);
  const { vcpus = pages.length } = options;
  if (pages.length === 0 || pages.length !== vcpus) {
    throw new InvalidArgumentError(
      'VMSA pages',
      `expected one for each of ${vcpus} vCPUs, found ${pages.length}`,
    );
  }
  return pages.map((bytes, cpu) => {
    if (bytes.length !== vmsa.size) {
      throw new InvalidArgumentError(
        `VMSA of vCPU ${cpu}`,
        `expected ${vmsa.size} bytes, found ${bytes.length}`,
      );
    }
    return { name: `VMSA of vCPU ${cpu}`, bytes };
  });
}

function buildVmsas(options: LaunchDigestOptions): Uint8Array[] {
  const { firmware, vcpuSignature, vmsaFpu: fpu, sevFeatures } = options;
  const vcpus = requireVcpuCount(options.vcpus);
  const boot = buildResetVmsa({ cpu: 'boot', vcpuSignature, fpu, sevFeatures });
  if (vcpus === 1) return [boot];
  const resetAddress = requireResetAddress(parseFirmwareFooter(firmware));
  const application = buildResetVmsa({ cpu: 'application', resetAddress, vcpuSignature, fpu, sevFeatures });
  return [boot, ...Array.from({ length: vcpus - 1 }, () => application)];
}

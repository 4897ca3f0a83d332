import {
  calculateLaunchDigest,
  type ExpectedLaunchDigest,
  InvalidArgumentError,
  toHex,
  vcpuSignatureOf,
} from '@vouchsafe/sev';

/**
 * One launch that the owner would trust, given as the images themselves. The digests are computed from them here: a
 * digest that a host offers is what that host launched, not what the owner wants.
 */
export interface ExpectedLaunch {
  /** For people: `web server 12`. */
  readonly name: string;
  /** The whole firmware image, as the host loads it. */
  readonly firmware: Uint8Array;
  /** Measured direct boot: without it the kernel is none of the measurement's business. */
  readonly directBoot?: {
    readonly kernel: Uint8Array;
    readonly initrd?: Uint8Array;
    readonly commandLine?: string;
  };
  /** SEV-ES measures each vCPU: the numbers of vCPUs that are welcome. SEV without ES measures none. */
  readonly vcpus?: readonly number[];
  /** SEV-ES: CPU models by QEMU's names, or as CPUID 1 EAX. */
  readonly vcpuTypes?: readonly (string | number)[];
  /** SEV-ES: whether the host's KVM sets MXCSR and FCW before it measures. Both, unless one is named. */
  readonly vmsaFpu?: readonly ('set' | 'zero')[];
}

export interface ExpectedLaunches {
  readonly digests: readonly ExpectedLaunchDigest[];
  /** What a host that wants to be accepted chooses from; empty without SEV-ES. */
  readonly vcpus: readonly number[];
  readonly vcpuSignatures: readonly number[];
}

/**
 * Computes a digest for every combination that the owner would trust, each named after what goes into it.
 * @throws InvalidArgumentError for a list without images, a SEV-ES launch without vCPUs or CPU types, or two launches
 * of one name
 */
export async function expectLaunches(
  mode: 'sev' | 'sev-es',
  images: readonly ExpectedLaunch[],
): Promise<ExpectedLaunches> {
  if (images.length === 0) throw new InvalidArgumentError('images', 'expected at least one launch to trust');
  const names = new Set(images.map(({ name }) => name));
  if (names.size < images.length)
    throw new InvalidArgumentError('images', 'expected a different name for each');

  const combinations = images.flatMap((image) =>
    mode === 'sev' ? [plainLaunch(image)] : vcpuCombinations(image),
  );
  const digests: ExpectedLaunchDigest[] = [];
  for (const { name, image, machine } of combinations) {
    const { kernel, initrd, commandLine } = image.directBoot ?? {};
    const { digest } = await calculateLaunchDigest({
      mode: mode === 'sev' ? 'sev' : 'seves',
      firmware: image.firmware,
      ...(kernel === undefined ? {} : { kernel }),
      ...(initrd === undefined ? {} : { initrd }),
      ...(commandLine === undefined ? {} : { append: commandLine }),
      ...machine,
    });
    digests.push({ name, digest });
  }
  const chosen = <T>(values: (T | undefined)[]) =>
    [...new Set(values)].filter((value): value is T => value !== undefined);
  return {
    digests,
    vcpus: chosen(combinations.map(({ machine }) => machine.vcpus)),
    vcpuSignatures: chosen(combinations.map(({ machine }) => machine.vcpuSignature)),
  };
}

interface Combination {
  readonly name: string;
  readonly image: ExpectedLaunch;
  readonly machine: {
    readonly vcpus?: number;
    readonly vcpuSignature?: number;
    readonly vmsaFpu?: 'set' | 'zero';
  };
}

const plainLaunch = (image: ExpectedLaunch): Combination => ({ name: image.name, image, machine: {} });

function vcpuCombinations(image: ExpectedLaunch): Combination[] {
  const { vcpus = [], vcpuTypes: types = [], vmsaFpu = ['zero', 'set'] } = image;
  if (vcpus.length === 0 || types.length === 0 || vmsaFpu.length === 0) {
    throw new InvalidArgumentError(
      `image ${image.name}`,
      'SEV-ES measures vCPUs: name their numbers and CPU types',
    );
  }
  return vcpus.flatMap((count) =>
    types.flatMap((type) =>
      vmsaFpu.map((form) => ({
        name: `${image.name}, ${count} vCPU${count === 1 ? '' : 's'}, ${typeName(type)}, FPU ${form}`,
        image,
        machine: { vcpus: count, vcpuSignature: signatureOf(type), vmsaFpu: form },
      })),
    ),
  );
}

const typeName = (type: string | number) =>
  typeof type === 'string' ? type : `CPUID 0x${type.toString(16)}`;

const signatureOf = (type: string | number) => (typeof type === 'string' ? vcpuSignatureOf(type) : type);

/** One line for each digest, for a log or a screen. */
export function describeExpectedLaunches({ digests }: ExpectedLaunches): string[] {
  return digests.map(({ name, digest }) => `${toHex(digest)}  ${name}`);
}

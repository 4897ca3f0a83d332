import { InvalidArgumentError } from '../errors.js';

/** Who launches a guest; names as in sev-snp-measure and snpguest. */
export const vmmTypes = ['QEMU', 'ec2', 'ec2-old', 'gce', 'KRUN'] as const;
export type VmmType = (typeof vmmTypes)[number];

/**
 * Whether KVM copied the FPU's reset values into the page before it was measured: `set` gives MXCSR 0x1F80 and FCW 0x37F
 * (about Linux 6.10 and later), `zero` leaves both zero.
 */
export type VmsaFpu = 'set' | 'zero';

/** In what the launches of a VMM differ from those of others, as far as it is measured. */
export interface VmmProfile {
  /** In words, for people. */
  readonly title: string;
  /** Attributes of the segment registers with hidden parts. */
  readonly attributes: {
    readonly bootCs: number;
    readonly applicationCs: number;
    readonly ss: number;
    readonly tr: number;
  };
  /** What a vCPU starts with in RDX: its own signature where the VMM sets CPUID before the state is measured. */
  readonly rdx: 'signature' | number;
  readonly gPat: bigint;
  /** What MXCSR and FCW hold unless the caller says otherwise. */
  readonly fpu: VmsaFpu;
  /** How the memory that firmware wants zeroed is launched. */
  readonly memory: 'ZERO' | 'UNMEASURED';
  /** Whether the CPUID page comes after all other sections, wherever its descriptor stands. */
  readonly cpuidLast: boolean;
}

const qemu: VmmProfile = {
  title: 'QEMU',
  attributes: { bootCs: 0x9b, applicationCs: 0x9b, ss: 0x93, tr: 0x8b },
  rdx: 'signature',
  gPat: 0x0007_0406_0007_0406n,
  fpu: 'set',
  memory: 'ZERO',
  cpuidLast: false,
};

const ec2: VmmProfile = {
  ...qemu,
  title: 'Amazon EC2',
  attributes: { bootCs: 0x9a, applicationCs: 0x9b, ss: 0x92, tr: 0x83 },
  rdx: 0x600,
  fpu: 'zero',
  cpuidLast: true,
};

/** Sources: sev-snp-measure vmsa.py and guest.py; virtee/sev src/measurement/vmsa.rs for `ec2-old` and `KRUN`. */
export const vmmProfiles: Readonly<Record<VmmType, VmmProfile>> = {
  QEMU: qemu,
  ec2,
  'ec2-old': { ...ec2, title: 'Amazon EC2 before RDX was set', rdx: 0 },
  gce: {
    ...qemu,
    title: 'Google Compute Engine',
    rdx: 0x600,
    gPat: 0x70106n,
    fpu: 'zero',
    memory: 'UNMEASURED',
  },
  KRUN: {
    ...qemu,
    title: 'libkrun',
    attributes: { bootCs: 0x9a, applicationCs: 0x9a, ss: 0x92, tr: 0x83 },
    rdx: 0,
    fpu: 'zero',
  },
};

/** @throws InvalidArgumentError for a name that is not in {@link vmmTypes} */
export function vmmProfileOf(type: string): VmmProfile {
  if (!Object.hasOwn(vmmProfiles, type)) {
    throw new InvalidArgumentError('VMM type', `${JSON.stringify(type)} is not known`, {
      hint: `known types: ${vmmTypes.join(', ')}`,
    });
  }
  return vmmProfiles[type as VmmType];
}

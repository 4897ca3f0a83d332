import { vmmTypes } from '@vouchsafe/sev';
import {
  choice,
  grouped,
  instant,
  number,
  path,
  repeated,
  required,
  text,
  withDefault,
  word,
} from '../../frame/options.js';

const referenceModes = ['sev', 'seves', 'snp'] as const;
export type ReferenceMode = (typeof referenceModes)[number];

/** What is booted, on which machines, and what the document says of it. */
export const referenceOptions = {
  firmware: required(path('--firmware <file>', 'firmware image: the code volume alone')),
  kernel: path('--kernel <file>', 'kernel of a measured direct boot'),
  initrd: path('--initrd <file>', 'its initrd'),
  append: text('--append <text>', 'its command line, exactly as the VMM gets it'),
  ...grouped('The machines', {
    mode: repeated(choice('--mode <mode>', 'generation (default: snp)', referenceModes)),
    vcpus: text('--vcpus <list>', 'numbers of vCPUs, such as 1-4,8; seves and snp need them'),
    vcpuType: repeated(text('--vcpu-type <type>', 'CPU model of QEMU, for example EPYC-Milan')),
    vcpuSig: repeated(number('--vcpu-sig <n>', 'CPU signature: CPUID function 1, EAX', word)),
    vmmType: withDefault(choice('--vmm-type <type>', 'who launches SEV-SNP guests', vmmTypes), 'QEMU'),
    guestFeatures: text('--guest-features <n>', 'SEV_FEATURES (default: 0x1)'),
    vmsaFpu: repeated(
      choice('--vmsa-fpu <state>', 'MXCSR and FCW in the VMSA (default: both forms, where hosts differ)', [
        'set',
        'zero',
      ] as const),
    ),
  }),
  ...grouped('The document', {
    name: withDefault(text('--name <name>', 'of the document'), 'images'),
    issuer: withDefault(text('--issuer <name>', 'as the broker knows the key'), 'owner'),
    label: text(
      '--label <text>',
      'for people: what these digests are of (default: the kernel’s or firmware’s name)',
    ),
    key: required(path('--key <file>', 'private JWK that signs it (see broker reference generate-key)')),
    notAfter: instant('--not-after <date>', 'in force until (default: a year from now)'),
    keep: path('--keep <file>', 'the signed document before this one: its digests stay, side by side'),
    keepUntil: instant('--keep-until <date>', 'when those end (default: a week from now)'),
    documentVersion: number(
      '--document-version <n>',
      'higher than the one before (default: one more than --keep’s)',
      {
        least: 1,
        most: 2 ** 31,
      },
    ),
    out: required(path('--out <file>', 'where to write the signed document')),
  }),
};

/** What is booted, and on which machines. */
export interface MachineInputs {
  readonly label: string | undefined;
  readonly firmware: string;
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly append: string | undefined;
  readonly mode: readonly ReferenceMode[];
  readonly vcpus: string | undefined;
  readonly vcpuType: readonly string[];
  readonly vcpuSig: readonly number[];
  readonly vmmType: (typeof vmmTypes)[number];
  readonly guestFeatures: string | undefined;
  readonly vmsaFpu: readonly ('set' | 'zero')[];
}

export interface ReferenceInputs extends MachineInputs {
  readonly name: string;
  readonly issuer: string;
  readonly key: string;
  readonly notAfter: number | undefined;
  readonly keep: string | undefined;
  readonly keepUntil: number | undefined;
  readonly documentVersion: number | undefined;
  readonly out: string;
}

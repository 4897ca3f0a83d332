import { join } from 'node:path';
import {
  buildResetVmsa,
  calculateLaunchDigest,
  InvalidArgumentError,
  summarizeLaunchParts,
  toBase64,
  toHex,
  type VmsaFpu,
} from '@vouchsafe/sev';
import { command, type Result } from '../frame/command.js';
import { type OutputFile, writeOutputs } from '../frame/files.js';
import { choice, flag, number, path, required, text, withDefault } from '../frame/options.js';
import { readBootFiles, readFirmware, resetAddressOf } from './launch-inputs.js';
import { readVcpuSignature, vcpuOptions } from './vcpu.js';

const modes = ['sev', 'seves', 'snp', 'snp:svsm', 'snp:ovmf-hash'] as const;

export const digest = command({
  description:
    'Computes the launch digest of a guest from the files that it is launched with. Options and defaults are those of ' +
    'sev-snp-measure. Modes sev and seves; the modes of SEV-SNP are not there yet.',
  arguments: {},
  options: {
    mode: required(choice('--mode <mode>', 'what kind of guest', modes)),
    ovmf: required(path('--ovmf <file>', 'firmware image: the code volume alone')),
    kernel: path('--kernel <file>', 'kernel of a measured direct boot (QEMU: kernel-hashes=on)'),
    initrd: path('--initrd <file>', 'its initrd'),
    append: text('--append <text>', 'its command line, exactly as QEMU gets it'),
    vcpus: number('--vcpus <n>', 'number of virtual CPUs; seves needs it', { least: 1, most: 4096 }),
    ...vcpuOptions,
    vmmType: withDefault(
      choice('--vmm-type <type>', 'who launches', ['QEMU', 'ec2', 'ec2-old', 'gce', 'KRUN'] as const),
      'QEMU',
    ),
    vmsaFpu: withDefault(
      choice('--vmsa-fpu <state>', 'MXCSR and FCW in the VMSA: set by Linux 6.10 and later, zero before', [
        'set',
        'zero',
      ] as const),
      'set',
    ),
    dumpVmsa: path('--dump-vmsa <dir>', 'write each VMSA page to vmsaN.bin in this folder'),
    outputFormat: withDefault(
      choice('--output-format <format>', 'how to print the digest', ['hex', 'base64'] as const),
      'hex',
    ),
    verbose: flag('-v, --verbose', 'say what was measured, piece by piece'),
  },
  examples: [
    { line: 'digest --mode sev --ovmf OVMF.fd', explains: 'firmware alone' },
    {
      line: 'digest --mode seves --ovmf OVMF.fd --vcpus 4 --vcpu-type EPYC-v4 --kernel vmlinuz --append "console=ttyS0"',
      explains: 'SEV-ES, four CPUs, measured direct boot',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { mode, outputFormat, verbose } = input;
    requireSupported(mode, input.vmmType);
    const firmware = await readFirmware(input.ovmf, io);
    const boot = await readBootFiles(
      { kernel: input.kernel, initrd: input.initrd, commandLine: input.append },
      { initrd: '--initrd', commandLine: '--append' },
      io,
    );
    const signature = readVcpuSignature(input);
    const cpus = mode === 'seves' ? requireCpus(input.vcpus, signature) : undefined;
    if (input.dumpVmsa !== undefined && cpus === undefined) {
      throw new InvalidArgumentError('--dump-vmsa', 'only mode seves measures VMSA pages');
    }
    const calculated = await calculateLaunchDigest({
      mode: mode === 'seves' ? 'seves' : 'sev',
      firmware,
      ...boot,
      ...(cpus === undefined ? {} : { ...cpus, vmsaFpu: input.vmsaFpu }),
    });
    const dumped =
      input.dumpVmsa === undefined || cpus === undefined
        ? []
        : vmsaFiles(input.dumpVmsa, {
            ...cpus,
            fpu: input.vmsaFpu,
            resetAddress: cpus.vcpus > 1 ? resetAddressOf(firmware) : undefined,
          });
    await writeOutputs(dumped, { overwrite: true });

    const summaries = await summarizeLaunchParts(calculated.parts);
    const parts = summaries.map(({ name, size, sha256 }) => ({ name, size, sha256: toHex(sha256) }));
    const shown = outputFormat === 'hex' ? toHex(calculated.digest) : toBase64(calculated.digest);
    return {
      exit: 0,
      json: {
        mode,
        digest: toHex(calculated.digest),
        base64: toBase64(calculated.digest),
        parts,
        ...(cpus === undefined ? {} : { ...cpus, vmsaFpu: input.vmsaFpu }),
        ...(dumped.length === 0 ? {} : { files: dumped.map((file) => file.path) }),
      },
      render(screen) {
        if (!verbose) {
          screen.line(shown);
          return;
        }
        screen.table(
          ['measured', 'bytes', 'SHA-256'],
          parts.map(({ name, size, sha256 }) => [name, String(size), sha256]),
        );
        screen.line();
        screen.line(`Calculated ${mode} guest measurement: ${shown}`);
      },
    };
  },
});

function requireSupported(mode: (typeof modes)[number], vmmType: string): void {
  if (mode.startsWith('snp')) {
    throw new InvalidArgumentError(
      '--mode',
      `${mode} is not there yet: this version computes digests of SEV and SEV-ES`,
      {
        hint: 'the modes sev and seves work',
      },
    );
  }
  if (vmmType !== 'QEMU') {
    throw new InvalidArgumentError(
      '--vmm-type',
      `${vmmType} launches no ${mode} guests whose digest is known`,
      {
        hint: 'leave it out: QEMU is the default',
      },
    );
  }
}

function requireCpus(vcpus: number | undefined, vcpuSignature: number | undefined) {
  if (vcpus === undefined) throw new InvalidArgumentError('--vcpus', 'it has to be given for mode seves');
  if (vcpuSignature === undefined) {
    throw new InvalidArgumentError(
      '--vcpu-type',
      'it, --vcpu-sig, or family, model and stepping have to be given for mode seves',
    );
  }
  return { vcpus, vcpuSignature };
}

interface VmsaPages {
  readonly vcpus: number;
  readonly vcpuSignature: number;
  readonly fpu: VmsaFpu;
  readonly resetAddress: number | undefined;
}

function vmsaFiles(folder: string, { vcpus, vcpuSignature, fpu, resetAddress }: VmsaPages): OutputFile[] {
  return Array.from({ length: vcpus }, (_, cpu) => ({
    path: join(folder, `vmsa${cpu}.bin`),
    bytes: buildResetVmsa({
      cpu: cpu === 0 ? 'boot' : 'application',
      vcpuSignature,
      fpu,
      ...(resetAddress === undefined ? {} : { resetAddress }),
    }),
  }));
}

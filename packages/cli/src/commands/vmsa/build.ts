import { buildResetVmsa, InvalidArgumentError, vcpuSignature } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { writeOutputs } from '../../frame/files.js';
import { argument, choice, number, path, required, withDefault } from '../../frame/options.js';
import { readFirmware, resetAddressOf } from '../launch-inputs.js';

export const build = command({
  description:
    'Writes the VMSA page with which QEMU and KVM start one CPU of a SEV-ES guest, for `measurement build`. Option names ' +
    'and defaults are sevctl’s, so MXCSR and FCW are zero unless --vmsa-fpu says otherwise.',
  arguments: { file: argument('file', 'where to write the 4096 bytes') },
  options: {
    cpu: required(number('--cpu <n>', '0 for the boot CPU, 1 for any other', { most: 4095 })),
    family: required(number('--family <n>', 'CPU family', { most: 270 })),
    model: required(number('--model <n>', 'CPU model', { most: 255 })),
    stepping: required(number('--stepping <n>', 'CPU stepping', { most: 15 })),
    firmware: path('--firmware <file>', 'firmware image, whose footer says where other CPUs start'),
    userspace: withDefault(choice('--userspace <name>', 'who launches', ['qemu', 'krun'] as const), 'qemu'),
    vmsaFpu: withDefault(
      choice('--vmsa-fpu <state>', 'MXCSR and FCW: set by Linux 6.10 and later, zero before', [
        'set',
        'zero',
      ] as const),
      'zero',
    ),
  },
  examples: [
    {
      line: 'vmsa build vmsa1.bin --cpu 1 --family 25 --model 1 --stepping 1 --firmware OVMF.fd --userspace qemu',
      explains: 'the page of every CPU but the first',
    },
  ],
  async run(input, { io }): Promise<Result> {
    const { file, cpu, family, model, stepping, firmware, vmsaFpu } = input;
    if (input.userspace === 'krun') {
      throw new InvalidArgumentError(
        '--userspace',
        'krun is not there yet: no known answer exists to check it against',
      );
    }
    const resetAddress =
      firmware === undefined ? undefined : resetAddressOf(await readFirmware(firmware, io));
    if (cpu > 0 && resetAddress === undefined) {
      throw new InvalidArgumentError(
        '--firmware',
        'for any CPU but the first, an image has to be given whose footer names a reset address',
      );
    }
    const signature = vcpuSignature({ family, model, stepping });
    const page = buildResetVmsa({
      cpu: cpu === 0 ? 'boot' : 'application',
      vcpuSignature: signature,
      fpu: vmsaFpu,
      ...(resetAddress === undefined ? {} : { resetAddress }),
    });
    await writeOutputs([{ path: file, bytes: page }], { overwrite: true });
    return {
      exit: 0,
      json: { file, cpu, vcpuSignature: signature, vmsaFpu, bytes: page.length },
      render: (screen) =>
        screen.line(
          `Wrote ${file}: CPU ${cpu}, signature 0x${signature.toString(16).padStart(8, '0')}, FPU state ${vmsaFpu}`,
        ),
    };
  },
});

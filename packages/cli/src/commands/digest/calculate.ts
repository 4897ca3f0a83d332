import { join } from 'node:path';
import { InvalidArgumentError, toBase64, toHex } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { writeOutputs } from '../../frame/files.js';
import { choice, flag, path, withDefault } from '../../frame/options.js';
import { measureLaunch } from './launch.js';
import { launchOptions } from './options.js';

export const calculate = command({
  description:
    'Computes the launch digest of a guest from the files that it is launched with: the measurement that a SEV-SNP ' +
    'report or a SEV launch has to show. Options and defaults are those of sev-snp-measure.',
  arguments: {},
  options: {
    ...launchOptions,
    dumpVmsa: path('--dump-vmsa <dir>', 'write each VMSA page to vmsaN.bin in this folder'),
    outputFormat: withDefault(
      choice('--output-format <format>', 'how to print the digest', ['hex', 'base64'] as const),
      'hex',
    ),
    verbose: flag('-v, --verbose', 'say what was measured, piece by piece'),
  },
  examples: [
    {
      line: 'digest --mode snp --ovmf OVMF.fd --vcpus 4 --vcpu-type EPYC-Milan --kernel vmlinuz --append "console=ttyS0"',
      explains: 'SEV-SNP, four CPUs, measured direct boot',
    },
    { line: 'digest --mode snp --ovmf OVMF.fd --vcpus 2 --vmm-type ec2', explains: 'SEV-SNP on Amazon EC2' },
    { line: 'digest --mode snp:ovmf-hash --ovmf OVMF.fd', explains: 'firmware alone, for --snp-ovmf-hash' },
    { line: 'digest --mode sev --ovmf OVMF.fd', explains: 'SEV, firmware alone' },
  ],
  async run(input, { io }): Promise<Result> {
    const { mode, outputFormat, verbose, dumpVmsa } = input;
    const { digest, facts, headings, rows, vmsas } = await measureLaunch(input, io);
    if (dumpVmsa !== undefined && vmsas.length === 0) {
      throw new InvalidArgumentError('--dump-vmsa', `mode ${mode} measures no VMSA pages`);
    }
    const dumped =
      dumpVmsa === undefined
        ? []
        : vmsas.map((bytes, cpu) => ({ path: join(dumpVmsa, `vmsa${cpu}.bin`), bytes }));
    await writeOutputs(dumped, { overwrite: true });
    const shown = outputFormat === 'hex' ? toHex(digest) : toBase64(digest);
    return {
      exit: 0,
      json: {
        mode,
        digest: toHex(digest),
        base64: toBase64(digest),
        ...facts,
        ...(dumped.length === 0 ? {} : { files: dumped.map((file) => file.path) }),
      },
      render(screen) {
        if (!verbose) {
          screen.line(shown);
          return;
        }
        screen.table(headings, rows);
        screen.line();
        screen.line(`Calculated ${mode} guest measurement: ${shown}`);
      },
    };
  },
});

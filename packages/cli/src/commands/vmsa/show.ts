import { isZero, vmsa } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { argument, flag } from '../../frame/options.js';
import { readVmsa } from '../launch-inputs.js';

export const show = command({
  description: 'Shows the registers in a VMSA page: those that are not zero or, with --all, every one.',
  arguments: { file: argument('file', 'the page: 4096 bytes') },
  options: { all: flag('--all', 'registers that are zero, too') },
  examples: [{ line: 'vmsa show vmsa0.bin', explains: 'how the boot CPU starts' }],
  async run({ file, all }, { io }): Promise<Result> {
    const page = vmsa.parse(await readVmsa(file, io));
    const rows = vmsa
      .describe(page)
      .filter(({ offset, size }) => all || !isZero(page.raw.subarray(offset, offset + size)));
    return {
      exit: 0,
      json: { ...vmsa.toJson(page), notes: page.notes },
      render(screen) {
        screen.table(
          ['offset', 'register', 'value', 'meaning'],
          rows.map(({ offset, name, value, meaning }) => [`0x${offset.toString(16)}`, name, value, meaning]),
        );
        for (const note of page.notes) {
          screen.line(`note: at 0x${note.offset.toString(16)}: ${note.found}: ${note.meaning}`);
        }
      },
    };
  },
});

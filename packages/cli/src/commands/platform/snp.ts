import type { SnpReportSettings } from '@vouchsafe/host';
import {
  buildTcbVersion,
  formatTcb,
  InvalidArgumentError,
  type ProductLine,
  vlekHashstick,
} from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import { readEncoded } from '../../frame/files.js';
import { argument, choice, flag } from '../../frame/options.js';
import { tcb } from '../report/expectation-options.js';
import { type ManagedProcessor, processorOptions, withProcessor } from './processor.js';
import { layoutOf, readTcb } from './snp-tcb.js';

/** Commands that manage SEV-SNP on a platform, as snphost does. */

const untilReboot =
  'It lasts until the host is rebooted; a software processor is switched off when the command is over.';

const onOff = ['on', 'off'] as const;

export const config = command({
  description:
    'Says for which TCB version reports are signed, and what they keep back (SNP_CONFIG). What is not given stays as it is. ' +
    untilReboot,
  arguments: {},
  options: {
    ...processorOptions,
    tcb: tcb('--tcb <parts>', 'reported TCB version, or the parts of it that change'),
    maskChipId: choice('--mask-chip-id <word>', 'whether reports leave the chip’s id out', onOff),
    maskChipKey: choice('--mask-chip-key <word>', 'whether the chip’s own key signs no reports', onOff),
    reset: flag('--reset', 'back to the committed TCB version, with nothing kept back'),
  },
  examples: [
    { line: 'platform config --tcb microcode=209', explains: 'until the key service has the newer VCEK' },
    { line: 'platform config --mask-chip-id on', explains: 'reports do not name the chip' },
    { line: 'platform config --reset', explains: 'as snphost config reset' },
  ],
  run: (input) =>
    withProcessor(input, async (processor): Promise<Result> => {
      const { snp } = processor.platform;
      const { reset, tcb: parts, maskChipId, maskChipKey } = input;
      const given = [parts, maskChipId, maskChipKey].some((each) => each !== undefined);
      if (reset === given) {
        throw new InvalidArgumentError('--reset', 'give either it, or what is to change');
      }
      await snp.configure(reset ? {} : await changed(processor, input));
      const { reportedTcb, ...found } = await snp.status();
      const reported = readTcb(reportedTcb, processor.line);
      return {
        exit: 0,
        json: { reportedTcb: reported, maskChipId: found.maskChipId, maskChipKey: found.maskChipKey },
        render(screen) {
          screen.facts([
            ['reported TCB', formatTcb(reported)],
            ['chip id', found.maskChipId ? 'kept back' : 'in reports'],
            ['key of the chip', found.maskChipKey ? 'signs no reports' : 'signs reports'],
          ]);
        },
      };
    }),
});

interface Changes {
  readonly tcb: Parameters<typeof mergedTcb>[2] | undefined;
  readonly maskChipId: 'on' | 'off' | undefined;
  readonly maskChipKey: 'on' | 'off' | undefined;
}

async function changed(
  { platform, line }: ManagedProcessor,
  { tcb: parts, maskChipId, maskChipKey }: Changes,
): Promise<SnpReportSettings> {
  const present = await platform.snp.status();
  const { reportedTcb } = present;
  return {
    reportedTcb: parts === undefined ? reportedTcb : mergedTcb(reportedTcb, line, parts),
    maskChipId: maskChipId === undefined ? present.maskChipId : maskChipId === 'on',
    maskChipKey: maskChipKey === undefined ? present.maskChipKey : maskChipKey === 'on',
  };
}

/** @throws InvalidArgumentError for a component that this product line does not have */
function mergedTcb(
  present: Uint8Array,
  line: ProductLine | undefined,
  parts: Readonly<Partial<Record<string, number>>>,
): Uint8Array {
  return buildTcbVersion({ ...readTcb(present, line), ...parts }, layoutOf(present, line));
}

export const commit = command({
  description:
    'Commits to the firmware that runs (SNP_COMMIT): nothing older runs on this chip ever again. Reports are signed for ' +
    'its TCB version from now on, and a VLEK for another one is deleted. It cannot be undone.',
  arguments: {},
  options: processorOptions,
  examples: [{ line: 'platform commit', explains: 'after a firmware update that proved itself' }],
  run: (input) =>
    withProcessor(input, async ({ platform, line }): Promise<Result> => {
      await platform.snp.commit();
      const { apiMajor, apiMinor, build, currentTcb } = await platform.snp.status();
      const committed = readTcb(currentTcb, line);
      return {
        exit: 0,
        json: { apiMajor, apiMinor, build, committedTcb: committed },
        render: (screen) =>
          screen.line(`Committed to firmware ${apiMajor}.${apiMinor}.${build}: ${formatTcb(committed)}`),
      };
    }),
});

export const vlekLoad = command({
  description:
    'Loads a VLEK (SNP_VLEK_LOAD), which signs reports from now on unless a guest asks for the VCEK. It must be for the ' +
    `reported TCB version. ${untilReboot}`,
  arguments: { hashstick: argument('hashstick', 'the wrapped VLEK from AMD’s key service: 432 bytes') },
  options: processorOptions,
  examples: [{ line: 'platform vlek-load hashstick.bin', explains: 'on a host of a cloud operator' }],
  async run(input, { io }): Promise<Result> {
    const hashstick = await readEncoded(input.hashstick, 'VLEK hashstick', io, [vlekHashstick.size]);
    return withProcessor(input, async ({ platform }): Promise<Result> => {
      await platform.snp.loadVlek(hashstick);
      return { exit: 0, json: { loaded: true }, render: (screen) => screen.line('The VLEK is loaded.') };
    });
  },
});

import type { SnpPlatformInformation } from '@vouchsafe/host';
import { formatTcb, type ProductLine, toHex, UnavailableError } from '@vouchsafe/sev';
import { command, type Result } from '../../frame/command.js';
import type { Screen } from '../../frame/screen.js';
import { type ManagedProcessor, processorOptions, withProcessor } from './processor.js';
import { readTcb } from './snp-tcb.js';

export const status = command({
  description:
    'Shows the state of the host’s secure processor: firmware, owner, guests, the id that AMD’s key service knows it by, ' +
    'and for SEV-SNP its TCB versions and what reports keep back.',
  arguments: {},
  options: processorOptions,
  examples: [
    { line: 'platform status', explains: 'this host’s processor' },
    { line: 'platform status --software .vouchsafe/processor', explains: 'a software processor' },
  ],
  run: (input) =>
    withProcessor(input, async (processor): Promise<Result> => {
      const { platform, line } = processor;
      const found = await platform.status();
      const chipId = toHex(await platform.chipId());
      const snp = await snpStatus(processor);
      const { apiMajor, apiMinor, build, state, externallyOwned, encryptedState, guestCount } = found;
      return {
        exit: 0,
        json: {
          backend: platform.backend,
          ...found,
          chipId,
          snp: snp === undefined ? null : shown(snp, line),
        },
        render(screen) {
          screen.facts([
            ['processor', platform.backend === 'software' ? screen.paint('warning', 'software') : 'hardware'],
            ['state', state],
            ['API', `${apiMajor}.${apiMinor}`],
            ['build', String(build)],
            ['owner', externallyOwned ? 'external' : 'self'],
            ['SEV-ES', encryptedState ? 'on' : 'off'],
            ['guests', String(guestCount)],
            ['chip id', chipId],
            ...snpFacts(snp, line, screen),
          ]);
        },
      };
    }),
});

/** Older processors, and kernels that do not use it, have no SEV-SNP. */
async function snpStatus({ platform }: ManagedProcessor): Promise<SnpPlatformInformation | undefined> {
  try {
    return await platform.snp.status();
  } catch (error) {
    if (error instanceof UnavailableError) return undefined;
    throw error;
  }
}

function shown(snp: SnpPlatformInformation, line: ProductLine | undefined) {
  const tcb = (bytes: Uint8Array) => ({ ...readTcb(bytes, line), raw: toHex(bytes) });
  return { ...snp, currentTcb: tcb(snp.currentTcb), reportedTcb: tcb(snp.reportedTcb) };
}

function snpFacts(
  snp: SnpPlatformInformation | undefined,
  line: ProductLine | undefined,
  screen: Screen,
): [string, string][] {
  if (snp === undefined) return [['SEV-SNP', screen.paint('quiet', 'not there, or not initialised')]];
  const masked = [...(snp.maskChipId ? ['chip id'] : []), ...(snp.maskChipKey ? ['key of the chip'] : [])];
  const tcb = (bytes: Uint8Array) => formatTcb(readTcb(bytes, line));
  return [
    ['SEV-SNP', `${snp.state}, API ${snp.apiMajor}.${snp.apiMinor}, build ${snp.build}`],
    ['SNP guests', String(snp.guestCount)],
    ['current TCB', tcb(snp.currentTcb)],
    ['reported TCB', tcb(snp.reportedTcb)],
    ['reports keep back', masked.length === 0 ? 'nothing' : masked.join(', ')],
    ['VLEK', snp.vlekLoaded ? 'loaded' : 'none'],
    ['alias check', snp.aliasCheckComplete ? 'complete' : screen.paint('warning', 'not done')],
  ];
}

import { join } from 'node:path';
import {
  chipEndorsementRequest,
  createSoftwareMachine,
  machineProfiles,
  openChipFile,
  serveMachine,
  vcekEndorsementRequest,
} from '@vouchsafe/firmware';
import { systemRandom, type TcbVersion } from '@vouchsafe/sev';
import { playRole } from '../role-process.js';

/** The silicon: a secure processor, memory that it encrypts, and the doors that host and guest have to it. */
export interface ProcessorSettings {
  readonly folder: string;
  readonly hostSocket: string;
  readonly guestSocket: string;
  /** Bytes. */
  readonly memory: number;
  /** TCB version of the SEV-SNP firmware that the board starts; that of the chip's generation when absent. */
  readonly tcb?: TcbVersion | undefined;
}

/** What the maker has endorsed of a new chip. */
export interface ProcessorReady {
  readonly cek: ReturnType<typeof chipEndorsementRequest>;
  readonly vcek: ReturnType<typeof vcekEndorsementRequest>;
}

playRole<ProcessorSettings>(async ({ settings, ready, undoLater }) => {
  const chip = await openChipFile(join(settings.folder, 'chip.json'), {
    random: systemRandom,
    generation: 'milan',
  });
  const { tcb = machineProfiles.milan.snp!.currentTcb } = settings;
  const profile = { snp: { currentTcb: tcb } };
  const machine = createSoftwareMachine({ chip, random: systemRandom, memory: settings.memory, profile });
  const served = await serveMachine(machine, settings);
  undoLater(async () => {
    await served.close();
    await machine.close();
  });
  ready({
    cek: chipEndorsementRequest(chip),
    vcek: vcekEndorsementRequest(chip, tcb),
  } satisfies ProcessorReady);
});

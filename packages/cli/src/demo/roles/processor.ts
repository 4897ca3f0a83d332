import { join } from 'node:path';
import {
  chipEndorsementRequest,
  createSoftwareMachine,
  openChipFile,
  serveMachine,
} from '@vouchsafe/firmware';
import { systemRandom } from '@vouchsafe/sev';
import { playRole } from '../role-process.js';

/** The silicon: a secure processor, memory that it encrypts, and the doors that host and guest have to it. */
export interface ProcessorSettings {
  readonly folder: string;
  readonly hostSocket: string;
  readonly guestSocket: string;
  /** Bytes. */
  readonly memory: number;
}

export interface ProcessorReady {
  readonly chipId: Uint8Array;
  readonly unsignedCek: Uint8Array;
}

playRole<ProcessorSettings>(async ({ settings, ready }) => {
  const chip = await openChipFile(join(settings.folder, 'chip.json'), {
    random: systemRandom,
    generation: 'milan',
  });
  const machine = createSoftwareMachine({ chip, random: systemRandom, memory: settings.memory });
  await serveMachine(machine, settings);
  ready(chipEndorsementRequest(chip) satisfies ProcessorReady);
});

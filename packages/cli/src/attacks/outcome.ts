import { FirmwareCommandError } from '@vouchsafe/host';
import { type Appraisal, MalformedError, verdict } from '@vouchsafe/sev';
import type { Outcome } from './attack.js';

/** How an attack ended, from what the owner or the processor answered. */

/** The owner's verdict; where it accepted, the host achieved `otherwise`. */
export function ownerOutcome(appraisal: Appraisal, otherwise: string): Outcome {
  const { accepted, failed } = verdict(appraisal);
  const [first] = failed;
  if (accepted || first === undefined)
    return { refusedBy: 'nobody', at: otherwise, evidence: 'the owner accepted' };
  const evidence = `expected ${first.expected ?? 'it to pass'}; found ${first.found ?? 'otherwise'}`;
  return { refusedBy: 'owner', at: first.id, evidence };
}

/** The processor's answer to what `work` asks of it; where it did as asked, the host achieved `otherwise`. */
export async function processorOutcome(otherwise: string, work: () => Promise<unknown>): Promise<Outcome> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof FirmwareCommandError)) throw error;
    const { command, statusName } = error;
    return {
      refusedBy: 'processor',
      at: statusName ?? 'unknown status',
      evidence: `${command} answered ${statusName}`,
    };
  }
  return { refusedBy: 'nobody', at: otherwise, evidence: 'the processor did as asked' };
}

/** The owner's parser refused bytes that are not what their format says. */
export async function parserOutcome(otherwise: string, work: () => Promise<unknown>): Promise<Outcome> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    return { refusedBy: 'owner', at: error.code, evidence: error.message };
  }
  return { refusedBy: 'nobody', at: otherwise, evidence: 'the owner read it' };
}

import { HostFault } from '@vouchsafe/firmware';
import {
  BootRefusedError,
  GuestChannelError,
  GuestMemoryError,
  RequestRefusedError,
  SealedSecretRefusedError,
  WrongSealingKeyError,
} from '@vouchsafe/guest';
import { FirmwareCommandError } from '@vouchsafe/host';
import {
  type Appraisal,
  type Check,
  guestMessageStatusName,
  MalformedError,
  RefusedError,
  verdict,
} from '@vouchsafe/sev';
import type { Outcome } from './attack.js';

/** How an attack ended, from what the owner, the verifier, the processor or the reverse map table answered. */

/** The owner's verdict; where it accepted, the host achieved `otherwise`. */
export function ownerOutcome(appraisal: Appraisal, otherwise: string): Outcome {
  return appraisalOutcome('owner', appraisal, otherwise);
}

/** The same for whoever verifies a report. */
export function verifierOutcome(appraisal: Appraisal, otherwise: string): Outcome {
  return appraisalOutcome('verifier', appraisal, otherwise);
}

/** The same for what a guest holds against what it knows, whether it says so by its appraisal or by refusing. */
export async function appraisedByGuest(otherwise: string, work: () => Promise<Appraisal>): Promise<Outcome> {
  try {
    return appraisalOutcome('guest', await work(), otherwise);
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    return appraisalOutcome('guest', error.appraisal, otherwise);
  }
}

function appraisalOutcome(
  who: 'owner' | 'verifier' | 'guest',
  appraisal: Appraisal,
  otherwise: string,
): Outcome {
  const { accepted, failed } = verdict(appraisal);
  const [first] = failed;
  if (accepted || first === undefined)
    return { refusedBy: 'nobody', at: otherwise, evidence: `the ${who} accepted` };
  return { refusedBy: who, at: first.id, evidence: findingText(first) };
}

function findingText({ expected, found }: Check): string {
  return `expected ${expected ?? 'it to pass'}; found ${found ?? 'otherwise'}`;
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

/** What a write of the host's to memory came to, under the reverse map table. */
export async function hostWriteOutcome(otherwise: string, write: () => Promise<unknown>): Promise<Outcome> {
  try {
    await write();
  } catch (error) {
    if (!(error instanceof HostFault)) throw error;
    return { refusedBy: 'reverse map', at: '#PF(RMP)', evidence: error.message };
  }
  return { refusedBy: 'nobody', at: otherwise, evidence: 'the host wrote' };
}

/** What the guest came to that had something to do, or the firmware that it asked; where all went well, `otherwise`. */
export async function guestOutcome(otherwise: string, work: () => Promise<unknown>): Promise<Outcome> {
  try {
    await work();
  } catch (error) {
    const refusal = guestRefusal(error);
    if (refusal === undefined) throw error;
    return { ...refusal, evidence: error instanceof Error ? error.message : String(error) };
  }
  return { refusedBy: 'nobody', at: otherwise, evidence: 'the guest went on' };
}

function guestRefusal(error: unknown): Pick<Outcome, 'refusedBy' | 'at'> | undefined {
  const guest = (at: string) => ({ refusedBy: 'guest', at }) as const;
  if (error instanceof GuestChannelError) return guest(error.failure);
  if (error instanceof GuestMemoryError) return guest(error.kind);
  if (
    error instanceof BootRefusedError ||
    error instanceof WrongSealingKeyError ||
    error instanceof SealedSecretRefusedError
  )
    return guest(error.code);
  if (!(error instanceof RequestRefusedError)) return undefined;
  return { refusedBy: 'processor', at: guestMessageStatusName(error.status ?? -1) ?? 'unknown status' };
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

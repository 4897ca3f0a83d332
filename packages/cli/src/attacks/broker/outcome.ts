import { rcarError, rcarErrorVariant } from '@vouchsafe/protocol';
import type { Outcome } from '../attack.js';
import { type Answer, isGood, required } from './answers.js';
import type { BrokerRig } from './world.js';

/** How an attack on a broker ended, from what it answered, what its record explains, and what its log says. */

/** A broker's answer as the end of an attack; where it did as asked, `otherwise`. */
export async function brokerOutcome(rig: BrokerRig, otherwise: string, answer: Answer): Promise<Outcome> {
  if (isGood(answer)) return { refusedBy: 'nobody', at: otherwise, evidence: `status ${answer.status}` };
  const { at, words } = await refusalIn(rig, answer);
  return { refusedBy: 'broker', at, evidence: `status ${answer.status}: ${words}` };
}

interface Refusal {
  readonly at: string;
  readonly words: string;
}

/** A check's id as messages name it. */
const checkInText = /\(([a-z-]+\.[a-z-]+)\)/;

async function refusalIn(rig: BrokerRig, { status, text }: Answer): Promise<Refusal> {
  const json: unknown = JSON.parse(text);
  if (!isGuestsError(json)) return administratorsRefusal(json);
  const error = rcarError.parse(json);
  const [, number] = /number ([0-9-]{19})/.exec(error.detail) ?? [];
  if (number !== undefined) return { at: await explained(rig, number), words: error.detail };
  // Of its own state a broker says nothing to guests; its operator reads why in the log.
  const words = status === 503 ? lastFailure(rig) : error.detail;
  const variant = rcarErrorVariant(error);
  const named = variant === 'HTTPFailed' ? undefined : variant;
  return { at: checkInText.exec(words)?.[1] ?? named ?? `status ${status}`, words };
}

const isGuestsError = (json: unknown) => typeof json === 'object' && json !== null && 'detail' in json;

interface AdministratorsError {
  readonly error?: string;
  readonly message?: string;
  readonly checks?: readonly { readonly id: string; readonly status: string }[];
}

function administratorsRefusal(json: unknown): Refusal {
  const { error = 'unknown error', message = '', checks = [] } = json as AdministratorsError;
  return { at: checks.find(({ status }) => status === 'fail')?.id ?? error, words: message };
}

/** What `vouchsafe broker explain NUMBER` finds: the check of the evidence, or the rule of the decision. */
async function explained(rig: BrokerRig, number: string): Promise<string> {
  const { text } = required(await rig.administer('GET', `/decisions/${number}`));
  const { entry } = JSON.parse(text) as {
    readonly entry: { readonly body: { readonly failed?: readonly string[]; readonly rule?: string } };
  };
  const { failed: [failed] = [], rule } = entry.body;
  return failed ?? rule ?? 'no reason';
}

function lastFailure({ log }: BrokerRig): string {
  const { failure = 'nothing in the log' } = JSON.parse(log.at(-1) ?? '{}') as { readonly failure?: string };
  return failure;
}

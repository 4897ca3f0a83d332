import { command, type Result } from '../../frame/command.js';
import { argument } from '../../frame/options.js';
import { harmless, type Screen } from '../../frame/screen.js';
import { type EntryAnswer, gist } from './audit/record.js';
import { connectBroker } from './client.js';
import { clientOptions } from './data-folder.js';

export interface DenialAnswer {
  readonly rule: string;
  readonly claim: string;
  readonly expected: string;
  readonly found: string;
  readonly nearest?: string;
  readonly hint?: string;
}

export interface ExplanationAnswer {
  readonly entry: EntryAnswer;
  readonly appraisal?: EntryAnswer;
  readonly decision?: EntryAnswer;
}

export const explain = command({
  description:
    'Says why a guest was refused: every rule and claim that stood in the way, what was expected and found, the nearest ' +
    'known reference value, and what to do. The guest itself gets the number only.',
  arguments: { number: argument('number', 'that the guest was given') },
  options: clientOptions,
  examples: [{ line: 'broker explain 1234-5678-9012-3456', explains: 'the number in the guest’s error' }],
  async run(input, { io }): Promise<Result> {
    const broker = await connectBroker(input, io);
    const url = `/decisions/${encodeURIComponent(input.number)}`;
    const answer = await broker.ask<ExplanationAnswer>('GET', url);
    return {
      exit: 0,
      json: answer,
      render: (screen) => showExplanation(screen, answer),
    };
  },
});

export function showExplanation(screen: Screen, { entry, appraisal, decision }: ExplanationAnswer): void {
  screen.line(`${screen.paint('strong', entry.reference)}: ${entry.kind} of ${entry.at}, ${gist(entry)}`);
  if (entry.subject !== undefined) screen.line(`  about ${harmless(entry.subject)}`);
  for (const denial of denialsOf(entry)) showDenial(screen, denial);
  if (entry.kind === 'appraisal') showFailedChecks(screen, entry);
  if (decision !== undefined)
    screen.line(`  the policy had decided: ${gist(decision)} (${decision.reference})`);
  if (appraisal !== undefined) screen.line(`  the evidence was ${gist(appraisal)} (${appraisal.reference})`);
}

export const denialsOf = ({ body }: EntryAnswer): readonly DenialAnswer[] =>
  Array.isArray(body['denials']) ? (body['denials'] as readonly DenialAnswer[]) : [];

function showDenial(screen: Screen, { rule, claim, expected, found, nearest, hint }: DenialAnswer): void {
  screen.line();
  screen.line(`  ${screen.paint('bad', 'denied')} by ${harmless(rule)}`);
  screen.facts([
    ['  claim', harmless(claim)],
    ['  expected', harmless(expected)],
    ['  found', harmless(found)],
    ...(nearest === undefined ? [] : [['  nearest', harmless(nearest)] as const]),
    ...(hint === undefined ? [] : [['  what to do', harmless(hint)] as const]),
  ]);
}

interface CheckAnswer {
  readonly id: string;
  readonly status: string;
  readonly expected?: string;
  readonly found?: string;
  readonly hint?: string;
}

function showFailedChecks(screen: Screen, { body }: EntryAnswer): void {
  const { checks = [] } = (body['appraisal'] ?? {}) as { checks?: readonly CheckAnswer[] };
  for (const { id, expected = '', found = '', hint } of checks.filter(({ status }) => status === 'fail'))
    showDenial(screen, { rule: id, claim: id, expected, found, ...(hint === undefined ? {} : { hint }) });
}

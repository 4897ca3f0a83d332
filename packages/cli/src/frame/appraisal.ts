import { type Appraisal, appraisalToJson, type Check, RefusedError, verdict } from '@vouchsafe/sev';
import type { Result } from './command.js';
import { harmless, type Screen } from './screen.js';

export interface AppraisalLayout {
  /** Lists what was not asked after the table, for verifications that can be asked for much more than they usually are. */
  readonly apart?: boolean | undefined;
}

/** How every command shows a verdict: the word, the root's name, what failed and what to do, then all checks. */
export function showAppraisal(screen: Screen, appraisal: Appraisal, { apart }: AppraisalLayout = {}): void {
  const { word, accepted, failed } = verdict(appraisal);
  screen.line(`${screen.paint(accepted ? 'good' : 'bad', word)}: ${appraisal.subject}`);
  if (appraisal.root !== undefined) {
    const { name, kind } = appraisal.root;
    const note = kind === 'development' ? ' (a development root: no hardware stands behind it)' : '';
    screen.line(`  root: ${screen.paint(kind === 'development' ? 'warning' : 'strong', name)}${note}`);
  }
  if (word === 'authentic') {
    const where = apart === true ? 'what was not asked stands below' : 'the table lists what was not asked';
    screen.line(`  The evidence is genuine. It was compared with no expectation; ${where}.`);
  }
  for (const group of byReason(failed)) showFailure(screen, group);
  const wasAsked = ({ status }: Check) => status !== 'not-asked';
  screen.line();
  screen.table(
    ['', 'check', 'what', 'found'],
    (apart === true ? appraisal.checks.filter(wasAsked) : appraisal.checks).map((check) => [
      statusWord(screen, check),
      check.id,
      check.title,
      wasAsked(check) ? shortened(harmless(check.found ?? '')) : (check.hint ?? ''),
    ]),
  );
  const others = apart === true ? appraisal.checks.filter((check) => !wasAsked(check)) : [];
  if (others.length === 0) return;
  screen.line();
  screen.table(
    ['not asked', 'what', 'how to ask'],
    others.map(({ id, title, hint = '' }) => [screen.paint('quiet', id), title, hint]),
  );
}

/** The result of a command whose whole outcome is a verdict. */
export function appraisalResult(
  appraisal: Appraisal,
  more: AppraisalLayout & { readonly json?: Record<string, unknown>; render?(screen: Screen): void } = {},
): Result {
  return {
    exit: verdict(appraisal).accepted ? 0 : 1,
    json: { ...appraisalToJson(appraisal), ...more.json },
    render(screen) {
      showAppraisal(screen, appraisal, more);
      more.render?.(screen);
    },
  };
}

/** For a command whose outcome is a verdict: evidence that is refused while it is read is its result, not a failure. */
export async function withRefusals(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof RefusedError) return appraisalResult(error.appraisal);
    throw error;
  }
}

/** One missing certificate fails many checks: what they have in common is said once. */
function byReason(failed: readonly Check[]): readonly (readonly [Check, ...Check[]])[] {
  const groups = new Map<string, [Check, ...Check[]]>();
  for (const check of failed) {
    const reason = JSON.stringify([check.found, check.hint]);
    const group = groups.get(reason);
    if (group === undefined) groups.set(reason, [check]);
    else group.push(check);
  }
  return [...groups.values()];
}

function showFailure(screen: Screen, [check, ...others]: readonly [Check, ...Check[]]): void {
  screen.line();
  screen.line(`  ${screen.paint('bad', 'failed')}: ${check.title} (${check.id})`);
  const rows: [string, string][] = [];
  if (check.expected !== undefined) rows.push(['  expected', harmless(check.expected)]);
  if (check.found !== undefined) rows.push(['  found', harmless(check.found)]);
  if (check.hint !== undefined) rows.push(['  what to do', check.hint]);
  if (others.length > 0) rows.push(['  fails as well', others.map(({ id }) => id).join(', ')]);
  screen.facts(rows);
}

function statusWord(screen: Screen, check: Check): string {
  if (check.status === 'pass') return screen.paint('good', 'pass');
  if (check.status === 'fail') return screen.paint('bad', 'FAIL');
  return screen.paint('quiet', 'not asked');
}

/** The whole value stands with the failure and in the JSON document. */
function shortened(text: string): string {
  return text.length > 72 ? `${text.slice(0, 69)}…` : text;
}

import { type Appraisal, type Check, verdict } from '@vouchsafe/sev';
import type { Recognised } from './files.js';

export interface DroppedFile {
  readonly name: string;
  readonly content: Recognised;
}

/** Everything is set as text: a file's name and a certificate's names are whatever their makers chose. */
function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = '',
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  if (className !== '') made.className = className;
  made.append(...children);
  return made;
}

export function fileList(files: readonly DroppedFile[]): HTMLElement {
  const rows = files.map(({ name, content }) => {
    const note = content.kind === 'unknown' ? `not recognised: ${content.why}` : content.kind;
    return element('li', content.kind === 'unknown' ? 'unknown' : '', element('b', '', name), ` – ${note}`);
  });
  return element('ul', 'files', ...rows);
}

const words = {
  accepted: ['Accepted', 'It is genuine, and it is what you expected.'],
  authentic: [
    'Authentic',
    'It is genuine. It was compared with nothing: drop a policy file to say what you expect.',
  ],
  refused: ['Refused', 'Do not trust what sent it.'],
} as const;

export function result(appraisal: Appraisal): HTMLElement {
  const { word } = verdict(appraisal);
  const [title, meaning] = words[word];
  const { root } = appraisal;
  const rootText = root === undefined ? 'none that is trusted' : root.name;
  const kind = root?.kind === 'development' ? ' – software, no chip protects this guest' : '';
  const summary = element(
    'div',
    `verdict ${word}`,
    element('h2', '', title),
    element('p', '', meaning),
    element('p', 'root', 'Root of trust: ', element('b', '', rootText), kind),
  );
  const groups = [
    ['fail', 'Failed', true],
    ['pass', 'Passed', true],
    ['not-asked', 'Not asked', false],
  ] as const;
  return element(
    'div',
    '',
    summary,
    ...groups.flatMap(([status, heading, open]) => {
      const checks = appraisal.checks.filter((check) => check.status === status);
      return checks.length === 0 ? [] : [group(`${heading} (${checks.length})`, checks, open)];
    }),
  );
}

function group(heading: string, checks: readonly Check[], open: boolean): HTMLElement {
  const details = element('details', '', element('summary', '', heading), checkList(checks));
  details.open = open;
  return details;
}

const marks = { pass: ['✓', 'passed'], fail: ['✗', 'failed'], 'not-asked': ['–', 'not asked'] } as const;

function checkList(checks: readonly Check[]): HTMLElement {
  const rows = checks.map(({ id, title, status, expected, found, hint }) => {
    const [sign, name] = marks[status];
    const mark = element('span', 'mark', sign);
    mark.setAttribute('role', 'img');
    mark.setAttribute('aria-label', name);
    const row = element('li', status, mark, element('b', '', title), ' ', element('code', '', id));
    const facts = [
      ['expected', expected],
      ['found', found],
      [status === 'fail' ? 'what to do' : 'how to ask', status === 'pass' ? undefined : hint],
    ].filter((fact): fact is [string, string] => fact[1] !== undefined);
    const list = element('dl');
    for (const [term, text] of facts) list.append(element('dt', '', term), element('dd', '', text));
    row.append(list);
    return row;
  });
  return element('ul', 'checks', ...rows);
}

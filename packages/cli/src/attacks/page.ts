import type { Attack, AttackMode, Refuser } from './attack.js';
import { brokerAttacks, sevAttacks, snpAttacks } from './catalogue.js';

/** `docs/attacks.md`, from the catalogue. */

const words: Readonly<Record<Refuser, string>> = {
  owner: 'the guest owner',
  verifier: 'the verifier',
  broker: 'the key broker',
  processor: 'the secure processor',
  CPU: 'the CPU',
  'reverse map': 'the reverse map table',
  guest: 'the guest',
  nobody: 'nobody',
  harmless: 'it has no effect',
};

export const refuserInWords = (refuser: Refuser) => words[refuser];

export const modeNames: Readonly<Record<AttackMode, string>> = {
  sev: 'SEV',
  'sev-es': 'SEV-ES',
  snp: 'SEV-SNP',
  broker: 'key broker',
};

export function attacksPage(): string {
  return `${[
    '# Attacks',
    'What a hostile host does, and a hostile client of a key broker, who refuses it, and at which check or status. Each row is code that runs: the tests try it at every commit, and `vouchsafe demo attacks` tries it before your eyes. Where the real chip would not refuse, the software machine does not either: those are the limits at the end of each part, with what catches them.',
    ...part('SEV and SEV-ES', sevAttacks, 'These succeed, as they do on the real chip.'),
    ...part('SEV-SNP', snpAttacks, 'These succeed, as they do on the real chip.'),
    ...part('the key broker', brokerAttacks, 'These succeed.'),
  ].join('\n\n')}\n`;
}

function part(name: string, attacks: readonly Attack[], ofLimits: string): string[] {
  const refused = attacks.filter(({ limit }) => limit === undefined);
  const limits = attacks.filter(({ limit }) => limit !== undefined);
  const flows = [...new Set(refused.map(({ flow }) => flow))];
  return [
    `## ${capitalised(name)}`,
    ...flows.flatMap((flow) => [
      `### ${capitalised(name)}: ${flow}`,
      table(refused.filter((each) => each.flow === flow)),
    ]),
    `### Limits of ${name}`,
    ofLimits,
    limitTable(limits),
  ];
}

function table(rows: readonly Attack[]): string {
  return markdownTable(
    ['attack', 'what is tried', 'on', 'refused by', 'at'],
    rows.map((each) => [`\`${each.id}\``, each.title, generations(each), words[each.refusedBy], place(each)]),
  );
}

function limitTable(rows: readonly Attack[]): string {
  return markdownTable(
    ['attack', 'what is tried', 'succeeds on', 'what it achieves', 'why', 'what catches it'],
    rows.map((each) => [
      `\`${each.id}\``,
      each.title,
      generations(each),
      each.at,
      each.limit?.why ?? '',
      each.limit?.caughtBy ?? '',
    ]),
  );
}

const capitalised = (text: string) => `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`;
const place = ({ refusedBy, at }: Attack) => (refusedBy === 'harmless' ? at : `\`${at}\``);
const generations = ({ modes }: Attack) => modes.map((mode) => modeNames[mode]).join(', ');

function markdownTable(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(headings), line(headings.map(() => '---')), ...rows.map(line)].join('\n');
}

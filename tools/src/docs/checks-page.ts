import * as broker from '@vouchsafe/broker';
import * as firmware from '@vouchsafe/firmware';
import * as guest from '@vouchsafe/guest';
import * as host from '@vouchsafe/host';
import * as kds from '@vouchsafe/kds';
import * as protocol from '@vouchsafe/protocol';
import type { CheckTable } from '@vouchsafe/sev';
import * as sev from '@vouchsafe/sev';
import { checkTablesOf } from '../exports.js';
import { code, table } from './markdown.js';

const packages = { sev, protocol, kds, firmware, host, guest, broker };

/** Every check of every verification, from the tables that the verifications report from. */
export function checksPage(): string {
  const tables = Object.entries(packages).flatMap(([role, module]) =>
    checkTablesOf(module).map(([exported, checks]) => section(role, exported, checks)),
  );
  return [
    '# Checks',
    'What each verification checks, in the order of its report. Ids are stable. An *authenticity* check asks whether the ' +
      'evidence is genuine, an *expectation* whether it is what the caller wanted; evidence for which no expectation was ' +
      'checked is called authentic and never more.',
    ...tables,
  ].join('\n\n');
}

function section(role: string, exported: string, checks: CheckTable): string {
  const rows = Object.entries(checks).map(([id, { title, kind, protects, hint }]) => [
    code(id),
    title,
    kind,
    protects,
    hint,
  ]);
  return [
    `## ${inWords(exported)}`,
    `${code(exported)} of ${code(`@vouchsafe/${role}`)}.`,
    table(['id', 'check', 'kind', 'without it', 'when it fails'], rows),
  ].join('\n\n');
}

/** `platformChainChecks` as a heading: `Platform chain`. */
function inWords(exported: string): string {
  const words = exported
    .replace(/Checks$/, '')
    .replaceAll(/([A-Z])/g, ' $1')
    .toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { snpReportChecks } from '@vouchsafe/sev';
import { code, table } from './markdown.js';

const page = join(import.meta.dirname, '../../../docs/verify.md');
const begin = '<!-- checks: written from the code by `npm run docs` -->';
const end = '<!-- end of checks -->';

/** `docs/verify.md` is written by hand, but for its table of checks. */
export function verifyPage(): string {
  const text = readFileSync(page, 'utf8');
  const [before, rest] = text.split(begin);
  const after = rest?.split(end)[1];
  if (before === undefined || after === undefined) throw new Error(`docs/verify.md: no ${begin} … ${end}`);
  const rows = Object.entries(snpReportChecks).map(([id, { title, kind, protects }]) => [
    code(id),
    title,
    kind,
    protects,
  ]);
  return `${before}${begin}\n\n${table(['id', 'check', 'kind', 'without it'], rows)}\n\n${end}${after}`;
}

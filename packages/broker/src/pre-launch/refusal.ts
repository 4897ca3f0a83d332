import type { Refusal } from '@vouchsafe/protocol';
import { type Appraisal, RefusedError } from '@vouchsafe/sev';

/** What a host is told of an Appraisal that was not accepted. Long texts are cut: a refusal has a largest size. */
export function refusalOf(appraisal: Appraisal): Refusal {
  const { subject, root, checks } = appraisal;
  return {
    reason: fitting(new RefusedError(appraisal).message),
    subject,
    ...(root === undefined ? {} : { root }),
    checks: checks.map(({ id, title, status, kind, ...texts }) => ({
      id,
      title,
      status,
      kind,
      ...(texts.expected === undefined ? {} : { expected: fitting(texts.expected) }),
      ...(texts.found === undefined ? {} : { found: fitting(texts.found) }),
      ...(texts.hint === undefined ? {} : { hint: fitting(texts.hint) }),
    })),
  };
}

const largest = 1024;

function fitting(text: string): string {
  const visible = text.replace(/\p{Cc}+/gu, ' ');
  if (visible.length === 0) return '(empty)';
  return visible.length <= largest ? visible : `${visible.slice(0, largest - 1)}…`;
}

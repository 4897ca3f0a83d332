import {
  type Appraisal,
  type Check,
  type CheckTable,
  type RootOfTrust,
  snpReportChecks,
} from '@vouchsafe/sev';
import { challengeChecks } from './challenge-checks.js';

/**
 * An accepted Appraisal as its session keeps it: how each check stood. What was expected and found stands in the record,
 * and no decision asks for it again.
 */
export interface StoredAppraisal {
  readonly subject: string;
  readonly root?: RootOfTrust;
  readonly checks: Readonly<Record<string, Check['status']>>;
}

const table: CheckTable = { ...challengeChecks, ...snpReportChecks };

export function storedAppraisal({ checks, ...others }: Appraisal): StoredAppraisal {
  return { ...others, checks: Object.fromEntries(checks.map(({ id, status }) => [id, status])) };
}

/** A check that is not among today's, because another version of the broker made it, has failed. */
export function openedAppraisal({ checks, ...others }: StoredAppraisal): Appraisal {
  return { ...others, checks: Object.entries(checks).map(([id, status]) => checkNamed(id, status)) };
}

function checkNamed(id: string, status: Check['status']): Check {
  const definition = Object.hasOwn(table, id) ? table[id] : undefined;
  if (definition !== undefined) return { id, title: definition.title, kind: definition.kind, status };
  const [expected, found] = ['a check that this broker knows', 'one of another version of it'];
  const hint = 'attest again';
  return { id, title: id, kind: 'authenticity', status: 'fail', expected, found, hint };
}

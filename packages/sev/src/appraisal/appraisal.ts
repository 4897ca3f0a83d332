import { VouchsafeError } from '../errors.js';
import type { CheckTable } from './checks.js';

export type CheckStatus = 'pass' | 'fail' | 'not-asked';

export interface Check {
  /** Stable id, for example `chain.pek.cek-signature`. */
  readonly id: string;
  readonly title: string;
  readonly status: CheckStatus;
  readonly kind: 'authenticity' | 'expectation';
  readonly expected?: string;
  readonly found?: string;
  /** For a failed check, what to do about it; for one that was not asked, how to ask. */
  readonly hint?: string;
}

/** The root that the evidence leads to. Evidence rooted in a software processor carries that root's name everywhere. */
export interface RootOfTrust {
  /** For example `AMD, Milan` or `Vouchsafe Development, Milan`. */
  readonly name: string;
  readonly kind: 'amd' | 'development';
  /** Digest of the root certificate's body, lower-case hexadecimal. */
  readonly fingerprint: string;
}

/** The verdict of a verification, as data: what was checked, what was expected, what was found. */
export interface Appraisal {
  /** What was appraised, for example `platform certificate chain`. */
  readonly subject: string;
  /** Absent when the evidence led to no root that the caller trusts. */
  readonly root?: RootOfTrust;
  readonly checks: readonly Check[];
}

export interface Verdict {
  readonly accepted: boolean;
  /** `accepted` when at least one expectation was met, `authentic` when the evidence was compared with none. */
  readonly word: 'accepted' | 'authentic' | 'refused';
  readonly failed: readonly Check[];
}

/** The one function that turns an Appraisal into yes or no. An Appraisal without a passed check is refused. */
export function verdict(appraisal: Appraisal): Verdict {
  const failed = appraisal.checks.filter(({ status }) => status !== 'pass' && status !== 'not-asked');
  const passed = appraisal.checks.filter((check) => check.status === 'pass');
  if (failed.length > 0 || passed.length === 0) return { accepted: false, word: 'refused', failed };
  const compared = passed.some((check) => check.kind === 'expectation');
  return { accepted: true, word: compared ? 'accepted' : 'authentic', failed };
}

/** The document that `--json` prints: the verdict, the root and the checks. */
export function appraisalToJson(appraisal: Appraisal) {
  const checks = appraisal.checks.map(({ kind: _kind, title: _title, ...check }) => check);
  return { accepted: verdict(appraisal).accepted, root: appraisal.root ?? null, checks };
}

/** The evidence was read and a check failed. */
export class RefusedError extends VouchsafeError {
  readonly code = 'refused';
  readonly appraisal: Appraisal;

  constructor(appraisal: Appraisal) {
    const { failed } = verdict(appraisal);
    const first = failed[0];
    const reason =
      first === undefined
        ? 'nothing was checked'
        : `${first.title} (${first.id}): expected ${first.expected ?? 'it to pass'}, found ${first.found ?? 'otherwise'}`;
    super(`${appraisal.subject} refused: ${reason}`, { hint: first?.hint });
    this.appraisal = appraisal;
  }
}

/** Gives the Appraisal back when it is accepted. @throws RefusedError otherwise */
export function requireAccepted(appraisal: Appraisal): Appraisal {
  if (!verdict(appraisal).accepted) throw new RefusedError(appraisal);
  return appraisal;
}

export interface Finding {
  readonly expected: string;
  readonly found: string;
  /** Replaces the hint of the check's definition. */
  readonly hint?: string;
}

/**
 * Collects the results of one verification. Deny by default: a check of the table that was neither reported nor
 * declared as not asked is a failure, and so is one whose work threw.
 */
export class Appraiser<Id extends string> {
  readonly #subject: string;
  readonly #table: CheckTable<Id>;
  readonly #results = new Map<Id, Check>();

  constructor(subject: string, table: CheckTable<Id>) {
    this.#subject = subject;
    this.#table = table;
  }

  /** Reports a check that ran. */
  report(id: Id, passed: boolean, finding: Finding): boolean {
    const { hint = this.#table[id].hint, ...evidence } = finding;
    this.#record(id, { status: passed ? 'pass' : 'fail', ...evidence, ...(passed ? {} : { hint }) });
    return passed;
  }

  /** Reports a check that the caller did not ask for; `hint` says how to ask. */
  notAsked(id: Id, hint: string): void {
    this.#record(id, { status: 'not-asked', hint });
  }

  /** Runs a check. If its work throws, the check has failed and the message is what was found. */
  async attempt(
    id: Id,
    expected: string,
    work: () => Promise<{ passed: boolean; found: string; hint?: string }>,
  ) {
    try {
      const { passed, ...finding } = await work();
      return this.report(id, passed, { expected, ...finding });
    } catch (error) {
      if (!(error instanceof VouchsafeError)) throw error;
      return this.report(id, false, { expected, found: error.message });
    }
  }

  /** Fails every check that has not been reported yet, because something before it made it impossible. */
  abandon(found: string): void {
    for (const id of this.#ids()) {
      if (!this.#results.has(id)) this.report(id, false, { expected: 'the check to run', found });
    }
  }

  finish(root?: RootOfTrust): Appraisal {
    this.abandon('the check did not run');
    const checks = this.#ids().map((id) => this.#results.get(id)!);
    return { subject: this.#subject, ...(root === undefined ? {} : { root }), checks };
  }

  #ids(): Id[] {
    return Object.keys(this.#table) as Id[];
  }

  #record(id: Id, result: Pick<Check, 'status' | 'expected' | 'found' | 'hint'>): void {
    if (this.#results.has(id)) throw new TypeError(`${id} was reported twice`);
    const { title, kind } = this.#table[id];
    this.#results.set(id, { id, title, kind, ...result });
  }
}

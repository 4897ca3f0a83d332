/** What a check is for. The tables in the documentation are generated from these definitions. */
export interface CheckDefinition {
  /** A few words: `PEK signed by CEK`. */
  readonly title: string;
  /** What an attacker could do if this check were missing. */
  readonly protects: string;
  /** What to do when it fails. */
  readonly hint: string;
  /**
   * `authenticity`: the evidence is genuine. `expectation`: the evidence is what this caller wanted. Evidence for which
   * no expectation passed is authentic and never called more.
   */
  readonly kind: 'authenticity' | 'expectation';
}

/** All checks of one verification, in the order in which they are reported. Ids are stable. */
export type CheckTable<Id extends string = string> = Readonly<Record<Id, CheckDefinition>>;

/** Declares the checks of one verification. */
export function checkTable<const T extends CheckTable>(table: T): T {
  return table;
}

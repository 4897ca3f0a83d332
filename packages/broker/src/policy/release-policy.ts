import type { Claims } from '../attestation/claims.js';

/** Where a resource stands: the three segments of its path. */
export interface ResourceName {
  readonly repository: string;
  readonly type: string;
  readonly tag: string;
}

/** What a release policy is asked. */
export interface PolicyQuestion {
  readonly claims: Claims;
  /** The reference values that the guest fits, as `issuer/name`. */
  readonly references: readonly string[];
  readonly resource: ResourceName;
  /** What serves the request, by Trustee's name: `resource` unless it is said. */
  readonly plugin?: string | undefined;
  /** Machines, other than the guest's, that have had this resource already; 0 where the policy does not count. */
  readonly otherMachines: number;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** The claims of the guest's token, which the policies of Trustee read. */
  readonly tokenClaims: Readonly<Record<string, unknown>>;
}

/** Why a guest was refused: the rule, the claim that it is about, and what was expected and found. */
export interface Denial {
  /** Id of a check, such as `demand.measurement`, or of a rule of the release policy. */
  readonly rule: string;
  /** Name of a claim, such as `measurement` or `tcb.reported`. */
  readonly claim: string;
  readonly expected: string;
  readonly found: string;
  /** The known reference value that comes nearest to what was found, and what tells them apart. */
  readonly nearest?: string;
  readonly hint?: string;
}

export interface PolicyAnswer {
  readonly allowed: boolean;
  /** Ids of the rules that decided: those that permit, or those that forbid. None, where no rule permits. */
  readonly rules: readonly string[];
  /** Empty when the answer is yes. */
  readonly denials: readonly Denial[];
}

/** The rule that a denial names where no rule of a policy permits, nor forbids. */
export const noRule = 'deny-by-default';

/** A release policy, ready to be asked. */
export interface ReleasePolicy {
  readonly language: 'cedar' | 'trustee' | 'compiled-rego';
  /** SHA-384 of the policy as it was set, lower-case hexadecimal: what the record names it by. */
  readonly id: string;
  /** Whether an answer depends on how many machines have had the resource; they are counted for these policies alone. */
  readonly countsMachines: boolean;
  /** What its type checker found odd and did not refuse. */
  readonly warnings?: readonly string[];
  /** Answers no where it cannot answer: a policy that fails denies, and says how it failed. */
  ask(question: PolicyQuestion): Promise<PolicyAnswer>;
  /** Ends what the policy holds: a worker. */
  close(): Promise<void>;
}

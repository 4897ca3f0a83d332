import { type Appraisal, verdict } from '@vouchsafe/sev';
import type { Claims } from '../attestation/claims.js';
import type { ReferenceDocument } from '../reference-values/document.js';
import { type ReferenceValues, referenceValuesAt } from '../reference-values/in-force.js';
import {
  fittingReferences,
  kindOfClaim,
  nearestFloor,
  nearestReference,
} from '../reference-values/matching.js';
import {
  appraiseDemands,
  type DemandCheck,
  defaultDemands,
  demandedClaims,
  type ReleaseDemands,
} from './demands.js';
import {
  type Denial,
  noRule,
  type PolicyAnswer,
  type ReleasePolicy,
  type ResourceName,
} from './release-policy.js';

export interface DecisionInput {
  readonly claims: Claims;
  /** Of the evidence that the claims are from. */
  readonly appraisal: Appraisal;
  /** Every stored and verified document; which of them are in force, the decision finds. */
  readonly referenceDocuments: readonly ReferenceDocument[];
  /** The resource's policy; left out, nothing permits and the answer is no. */
  readonly releasePolicy: ReleasePolicy | undefined;
  readonly resource: ResourceName;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly demands?: ReleaseDemands | undefined;
  /** Machines, other than the guest's, that have had this resource already: 0 unless they are counted. */
  readonly otherMachines?: number | undefined;
  /** The claims of the guest's token, which the policies of Trustee read. */
  readonly tokenClaims?: Readonly<Record<string, unknown>> | undefined;
}

/** Yes or no, and why: plain JSON, for the record and for `explain`. The guest gets a number and not this. */
export interface Decision {
  readonly allowed: boolean;
  /** What decided: the check of the evidence or the demand that failed first, or the rule of the release policy. */
  readonly rule: string;
  /** Everything that stands in the way, not only the first; empty when allowed. */
  readonly denials: readonly Denial[];
  /** The reference values that the guest fits, as `issuer/name`. */
  readonly references: readonly string[];
  /** Claims compared with the broker's demands and with reference values. */
  readonly demands: Appraisal;
  /** SHA-384 of the release policy that was asked. */
  readonly policy?: string;
}

/**
 * Decides whether a guest gets a resource. Deny by default: the evidence must be accepted, every demand met, and a rule of
 * the release policy must permit. All are asked even when one has failed, so that the operator sees everything at once.
 */
export async function decide(input: DecisionInput): Promise<Decision> {
  const { claims, appraisal, resource, now, otherMachines = 0 } = input;
  const values = referenceValuesAt(input.referenceDocuments, now);
  const demands = appraiseDemands(claims, appraisal, values, input.demands ?? defaultDemands);
  const references = claims.tee === 'snp' ? fittingReferences(claims, values) : [];
  const question = {
    claims,
    references,
    resource,
    otherMachines,
    now,
    // Reading them costs something, and most policies do not.
    get tokenClaims() {
      return input.tokenClaims ?? {};
    },
  };
  const answer = await (input.releasePolicy?.ask(question) ?? noPolicy(resource));
  const { accepted, failed } = verdict(demands);
  const denials = [...demandDenials(demands, appraisal), ...answer.denials].map((denial) =>
    withNearest(denial, claims, values),
  );
  return {
    allowed: accepted && answer.allowed,
    rule: (failed.length > 0 ? denials[0]?.rule : answer.rules[0]) ?? noRule,
    denials,
    references,
    demands,
    ...(input.releasePolicy === undefined ? {} : { policy: input.releasePolicy.id }),
  };
}

function noPolicy({ repository, type, tag }: ResourceName): PolicyAnswer {
  const denial = {
    rule: noRule,
    claim: 'resource',
    expected: 'a release policy',
    found: `none for ${repository}/${type}/${tag}`,
    hint: 'set one: `vouchsafe broker policy set`',
  };
  return { allowed: false, rules: [], denials: [denial] };
}

/** What failed in the evidence stands for itself, instead of one line that says that something did. */
function demandDenials(demands: Appraisal, evidence: Appraisal): Denial[] {
  return verdict(demands).failed.flatMap((check) => {
    const ofEvidence = verdict(evidence).failed;
    if (check.id === 'demand.evidence' && ofEvidence.length > 0) return ofEvidence.map(denialOf);
    return { ...denialOf(check), claim: demandedClaims[check.id as DemandCheck] };
  });
}

function withNearest(denial: Denial, claims: Claims, values: ReferenceValues): Denial {
  if (claims.tee !== 'snp') return denial;
  const kind = Object.hasOwn(kindOfClaim, denial.claim) ? kindOfClaim[denial.claim] : undefined;
  const ofTcb = denial.claim.startsWith('tcb.reported') ? nearestFloor(claims, values) : undefined;
  const nearest = kind === undefined ? ofTcb : nearestReference(claims, values, kind);
  return nearest === undefined ? denial : { ...denial, nearest };
}

function denialOf({ id, expected, found, hint }: Appraisal['checks'][number]): Denial {
  return {
    rule: id,
    claim: id,
    expected: expected ?? 'it to pass',
    found: found ?? 'otherwise',
    ...(hint === undefined ? {} : { hint }),
  };
}

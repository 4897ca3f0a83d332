import { createHash } from 'node:crypto';
import type { CedarRequest } from '../cedar/entities.js';
import { resourceId } from '../cedar/entities.js';
import { explainDenial } from '../cedar/explanation.js';
import { CedarPolicySet } from '../cedar/policy-set.js';
import { noRule, type PolicyAnswer, type PolicyQuestion, type ReleasePolicy } from '../release-policy.js';
import { at } from './init-data.js';
import { recogniseResourcePolicy, type TrusteeResourcePolicy } from './recognition.js';

/** A policy of Trustee's that was recognised, answered by its equivalent in Cedar. */
export interface TrusteeReleasePolicy extends ReleasePolicy {
  readonly language: 'trustee';
  readonly name: TrusteeResourcePolicy;
  /** The equivalent, for people to read. */
  readonly cedar: string;
}

/**
 * Recognises one of Trustee's published resource policies in Rego. `affirming` differs from Trustee's in one thing: a
 * submodule without a status is not affirming.
 * @throws InvalidArgumentError for other Rego source, with the ways out
 */
export function trusteeReleasePolicy(rego: string): TrusteeReleasePolicy {
  const name = recogniseResourcePolicy(rego);
  const cedar = equivalents[name];
  const policies = CedarPolicySet.parse(cedar, tokenSchema);
  return {
    language: 'trustee',
    countsMachines: false,
    id: createHash('sha384').update(rego).digest('hex'),
    name,
    cedar,
    async ask(question: PolicyQuestion): Promise<PolicyAnswer> {
      const request = tokenRequest(question);
      if (request === undefined) {
        const denial = { rule: noRule, claim: 'submods', expected: 'submodules of a token', found: 'none' };
        return { allowed: false, rules: [], denials: [denial] };
      }
      const answer = policies.ask(request);
      const { allowed, rules } = answer;
      return { allowed, rules, denials: explainDenial(policies.rules, request, answer) };
    },
    async close() {
      policies.close();
    },
  };
}

/** What Trustee's resource policies look at: the submodules of a token, and what is asked for. */
const tokenSchema = `
entity TokenHolder = {
  submodules: Long,
  statuses: Set<String>,
  sampleEvidence: Bool,
  sampleProductId?: String,
};
entity Resource = { repository: String, type: String, tag: String };
action release appliesTo {
  principal: [TokenHolder],
  resource: [Resource],
  context: { plugin: String },
};
`;

const equivalents: Readonly<Record<TrusteeResourcePolicy, string>> = {
  default: `@id("trustee-default")
permit (principal, action, resource)
when { context.plugin == "resource" && !principal.sampleEvidence };`,
  allow_all: `@id("trustee-allow-all")
permit (principal, action, resource)
when { context.plugin == "resource" };`,
  deny_all: `@id("trustee-deny-all")
forbid (principal, action, resource);`,
  affirming: `@id("trustee-affirming")
permit (principal, action, resource)
when { principal.submodules > 0 && ["affirming"].containsAll(principal.statuses) };`,
  policy_1: `@id("trustee-policy-1")
permit (principal, action, resource)
when {
  context.plugin == "resource" &&
  principal has sampleProductId &&
  principal.sampleProductId == resource.type
};`,
  policy_2: `@id("trustee-policy-2")
permit (principal, action, resource);`,
};

function tokenRequest(question: PolicyQuestion): CedarRequest | undefined {
  const { tokenClaims, resource, plugin = 'resource' } = question;
  const submods = tokenClaims['submods'];
  if (typeof submods !== 'object' || submods === null || Array.isArray(submods)) return undefined;
  const statuses = Object.values(submods).map((each) => at(each, 'ear.status'));
  const sample = at(submods, 'cpu0', 'ear.veraison.annotated-evidence', 'sample');
  const productId = at(sample, 'productId');
  const principal = { type: 'TokenHolder', id: 'token' };
  const name = { type: 'Resource', id: resourceId(resource) };
  const { repository, type, tag } = resource;
  return {
    principal,
    action: { type: 'Action', id: 'release' },
    resource: name,
    context: { plugin },
    entities: [
      {
        uid: principal,
        attrs: {
          submodules: statuses.length,
          statuses: statuses.map((each) => (typeof each === 'string' ? each : 'missing')),
          // In Rego, what is absent is not there, and neither is what is false.
          sampleEvidence: sample !== undefined && sample !== false,
          ...(typeof productId === 'string' ? { sampleProductId: productId } : {}),
        },
        parents: [],
      },
      { uid: name, attrs: { repository, type, tag }, parents: [] },
    ],
  };
}

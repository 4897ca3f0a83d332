import { createHash } from 'node:crypto';
import type { PolicyQuestion, ReleasePolicy } from '../release-policy.js';
import { releaseRequest } from './entities.js';
import { explainDenial } from './explanation.js';
import { CedarPolicySet } from './policy-set.js';
import { releaseSchema } from './schema.js';

/** A release policy in Cedar. */
export interface CedarReleasePolicy extends ReleasePolicy {
  readonly language: 'cedar';
  readonly warnings: readonly string[];
}

/**
 * Reads a release policy in Cedar and checks it against the schema of our claims.
 * @throws InvalidArgumentError for text that is no policy, does not type-check or goes beyond the limits
 */
export function cedarReleasePolicy(text: string): CedarReleasePolicy {
  const policies = CedarPolicySet.parse(text, releaseSchema);
  return {
    language: 'cedar',
    id: createHash('sha384').update(text).digest('hex'),
    warnings: policies.warnings,
    countsMachines: policies.reads('context', 'otherMachines'),
    async ask(question: PolicyQuestion) {
      const request = releaseRequest(question);
      const answer = policies.ask(request);
      const { allowed, rules } = answer;
      return { allowed, rules, denials: explainDenial(policies.rules, request, answer) };
    },
    async close() {
      policies.close();
    },
  };
}

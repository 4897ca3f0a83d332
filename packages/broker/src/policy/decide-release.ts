import { type ResourcePath, resourcePathText } from '@vouchsafe/protocol';
import type { Appraisal } from '@vouchsafe/sev';
import type { Claims } from '../attestation/claims.js';
import { type FoundResource, findResource } from '../secrets/release.js';
import type { Transaction } from '../state/database.js';
import type { BrokerState } from '../state/open.js';
import { type Decision, decide } from './decision.js';
import type { ReleaseDemands } from './demands.js';
import type { ReleasePolicy } from './release-policy.js';
import type { RulesInForce } from './rules.js';

export interface DecideReleaseDependencies {
  readonly state: Pick<BrokerState, 'keys' | 'clock' | 'resources'>;
  readonly rules: RulesInForce;
  readonly demands: ReleaseDemands;
}

export interface ReleaseQuestion {
  readonly path: ResourcePath;
  readonly claims: Claims;
  readonly appraisal: Appraisal;
  /** Names the machine, for policies that count machines. */
  readonly machine: string;
  /** The claims of the guest's token, where it has one; read only if a policy asks for them. */
  readonly tokenClaims?: Readonly<Record<string, unknown>>;
}

/**
 * Decides over a release by what a transaction sees: the resource and its policy, the rules in force, who has had it.
 * @param ready given the policy before it is asked
 */
export async function decideRelease(
  tx: Transaction,
  { state, rules, demands }: DecideReleaseDependencies,
  question: ReleaseQuestion,
  ready: (policy: ReleasePolicy) => ReleasePolicy,
): Promise<{ readonly decision: Decision; readonly found: FoundResource | undefined }> {
  const now = state.clock.now();
  const { path, claims, appraisal, machine } = question;
  const name = resourcePathText(path);
  const found = await findResource(tx, state.keys, name);
  const decision = await rules.use(tx.query, now, async ({ documents, policyOf }) => {
    const policy = policyOf(found?.resource.policy_id ?? undefined);
    const counts = policy?.countsMachines === true;
    return decide({
      claims,
      appraisal,
      referenceDocuments: documents,
      releasePolicy: policy === undefined ? undefined : ready(policy),
      resource: path,
      now,
      demands,
      otherMachines: counts ? await state.resources.otherMachines(tx, name, machine) : 0,
      get tokenClaims() {
        return question.tokenClaims;
      },
    });
  });
  return { decision, found };
}

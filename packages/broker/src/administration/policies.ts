import {
  type PolicyKind,
  type ReleasePolicyKind,
  releasePolicyKinds,
  type StoredPolicy,
} from '../policy/policy-store.js';
import { languageOf, prepareReleasePolicy } from '../policy/prepare.js';
import { inTransaction } from '../state/database.js';
import type { Principal } from './admin-tokens.js';
import { type AdministrationContext, byWhom } from './context.js';
import { NotFoundError } from './refused.js';

export interface PolicyDescription {
  readonly name: string;
  readonly version: number;
  readonly language: ReleasePolicyKind;
  readonly author: string;
  /** ISO 8601. */
  readonly createdAt: string;
}

/**
 * Sets a release policy, which decides from now on, on all replicas.
 * @throws InvalidArgumentError for one that does not type-check, is not recognised or does not load
 */
export async function setPolicy(
  { state, policies }: AdministrationContext,
  given: { readonly name: string; readonly content: Uint8Array },
  who: Principal,
): Promise<PolicyDescription & { readonly id: string; readonly warnings: readonly string[] }> {
  const { name, content } = given;
  const kind = languageOf(content);
  const prepared = await prepareReleasePolicy(kind, content);
  const { warnings = [] } = prepared;
  await prepared.close();
  const author = byWhom(who);
  const stored = await inTransaction(state.db, async (tx) => {
    const now = state.clock.now();
    const set = await policies.set(tx, { name, kind, content, author, now });
    const { version } = set;
    state.record.append(tx, {
      kind: 'administration',
      subject: `policy ${name}`,
      body: { act: 'policy.set', by: author, name, version, language: kind, policy: prepared.id },
    });
    return set;
  });
  return { ...summary(stored), id: prepared.id, warnings };
}

/** Stands for all release policies where one is named: they share their names, whatever language they are in. */
export const anyReleasePolicy: ReleasePolicyKind = 'cedar';

/** @throws NotFoundError */
export async function deletePolicy(
  { state, policies }: AdministrationContext,
  name: string,
  who: Principal,
): Promise<void> {
  await removeNamed({ state, policies }, { name, kind: anyReleasePolicy, act: 'policy.delete' }, who);
}

/** Removes a policy, a launch or an issuer. @throws NotFoundError */
export async function removeNamed(
  { state, policies }: Pick<AdministrationContext, 'state' | 'policies'>,
  { name, kind, act }: { readonly name: string; readonly kind: PolicyKind; readonly act: string },
  who: Principal,
): Promise<void> {
  const subject = `${act.split('.', 1)[0]} ${name}`;
  await inTransaction(state.db, async (tx) => {
    const version = await policies.remove(tx, name, kind);
    if (version === undefined) throw new NotFoundError(subject);
    const body = { act, by: byWhom(who), name, version };
    state.record.append(tx, { kind: 'administration', subject, body });
  });
}

export async function listPolicies({ state, policies }: AdministrationContext): Promise<PolicyDescription[]> {
  return (await policies.list(state.db.query, releasePolicyKinds)).map(summary);
}

/** @throws NotFoundError */
export async function findPolicy(
  { state, policies }: AdministrationContext,
  name: string,
): Promise<PolicyDescription & { readonly content: Uint8Array }> {
  const found = await policies.find(state.db.query, name, anyReleasePolicy);
  if (found === undefined) throw new NotFoundError(`policy ${name}`);
  return { ...summary(found), content: found.content };
}

function summary({
  name,
  version,
  kind,
  author,
  createdAt,
}: Omit<StoredPolicy, 'content'>): PolicyDescription {
  return { name, version, language: kind as ReleasePolicyKind, author, createdAt };
}

/** What a broker denies everything with until somebody says otherwise. */
export const denyAllPolicy = '@id("deny-all")\nforbid (principal, action, resource);\n';

import { InvalidArgumentError, VouchsafeError } from '@vouchsafe/sev';
import type { Kysely } from 'kysely';
import { databaseReferenceValues } from '../reference-values/database-repository.js';
import type { ReferenceDocument } from '../reference-values/document.js';
import type { ReferenceIssuer } from '../reference-values/signed-document.js';
import { ReferenceValueStore } from '../reference-values/store.js';
import type { StateKeys } from '../secrets/state-keys.js';
import type { Tables } from '../state/tables.js';
import { parseIssuer } from './issuers.js';
import {
  defaultPolicyName,
  type PolicyStore,
  releasePolicyKinds,
  type StoredPolicy,
} from './policy-store.js';
import type { ReleasePolicy } from './release-policy.js';
import { rulesEdition } from './rules-edition.js';

/** What decisions are made by at one moment. */
export interface Rules {
  /** Every stored document of a trusted issuer. */
  readonly documents: readonly ReferenceDocument[];
  /** Tokens rate a guest as Trustee's default attestation policy does, because somebody set that. */
  readonly trusteeAttestationPolicy: boolean;
  /** The release policy of a resource: its own, or the default one where it names none. */
  policyOf(policyId: string | undefined): ReleasePolicy | undefined;
}

/** Makes a policy of what is stored. @throws VouchsafeError when it cannot be used */
export type PrepareReleasePolicy = (stored: StoredPolicy) => Promise<ReleasePolicy>;

export interface RulesInForceOptions {
  readonly keys: StateKeys;
  readonly policies: PolicyStore;
  readonly prepare: PrepareReleasePolicy;
  /** Issuers that are trusted beside those in the database: the broker itself. */
  readonly ownIssuers: readonly ReferenceIssuer[];
}

type Query = Pick<Kysely<Tables>, 'selectFrom' | 'insertInto'>;

interface Loaded extends Rules {
  readonly edition: string;
  readonly prepared: ReadonlyMap<string, ReleasePolicy>;
}

/** Policies and reference values of the database, prepared once and read anew when they have changed. */
export class RulesInForce {
  readonly #options: RulesInForceOptions;
  #loaded: Loaded | undefined;
  #users = 0;
  /** Not in force any more, and perhaps still being asked. */
  readonly #retired: ReleasePolicy[] = [];

  constructor(options: RulesInForceOptions) {
    this.#options = options;
  }

  /**
   * Lends the rules as a transaction, or a moment, sees them.
   * @throws RefusedError for policies and reference values that were edited by hand
   */
  async use<T>(query: Query, now: number, work: (rules: Rules) => Promise<T>): Promise<T> {
    this.#users += 1;
    try {
      return await work(await this.#current(query, now));
    } finally {
      this.#users -= 1;
      if (this.#users === 0) await this.#end(this.#retired.splice(0));
    }
  }

  async close(): Promise<void> {
    const policies = [...(this.#loaded?.prepared.values() ?? []), ...this.#retired.splice(0)];
    this.#loaded = undefined;
    await this.#end(policies);
  }

  async #end(policies: readonly ReleasePolicy[]): Promise<void> {
    for (const policy of policies) await policy.close();
  }

  async #current(query: Query, now: number): Promise<Rules> {
    const edition = await rulesEdition(query);
    if (this.#loaded?.edition === edition) return this.#loaded;
    const { keys, policies, ownIssuers } = this.#options;
    const stored = await policies.list(query, releasePolicyKinds);
    const issuers = [...ownIssuers, ...(await policies.list(query, ['issuer'])).map(parseIssuer)];
    const repository = databaseReferenceValues(query, keys, now);
    const documents = await new ReferenceValueStore(repository, issuers).documents(now);
    const prepared = await this.#prepare(stored);
    const defaultId = stored.find(({ name }) => name === defaultPolicyName)?.id;
    const versions = new Map(stored.map((each) => [each.id, prepared.get(keyOf(each))]));
    const before = this.#loaded;
    this.#loaded = {
      edition,
      documents,
      trusteeAttestationPolicy: (await policies.list(query, ['attestation'])).length > 0,
      prepared,
      // A policy that a resource names and that is gone permits nothing: the default is not what its owner chose.
      policyOf: (id = defaultId) => (id === undefined ? undefined : versions.get(id)),
    };
    for (const [key, policy] of before?.prepared ?? []) if (!prepared.has(key)) this.#retired.push(policy);
    return this.#loaded;
  }

  async #prepare(stored: readonly StoredPolicy[]): Promise<Map<string, ReleasePolicy>> {
    const prepared = new Map<string, ReleasePolicy>();
    for (const policy of stored) {
      const key = keyOf(policy);
      const known = this.#loaded?.prepared.get(key);
      prepared.set(
        key,
        known ?? (await this.#options.prepare(policy).catch((error) => unusable(policy, error))),
      );
    }
    return prepared;
  }
}

const keyOf = ({ id, version }: StoredPolicy) => `${id} ${version}`;

/** A policy that was good when it was set, and cannot be used: it denies, and the record says why. */
function unusable({ kind, name }: StoredPolicy, error: unknown): ReleasePolicy {
  if (!(error instanceof VouchsafeError)) throw error;
  if (kind !== 'cedar' && kind !== 'trustee' && kind !== 'compiled-rego')
    throw new InvalidArgumentError('policy', `${name} is none`);
  const rule = 'policy.unusable';
  const denial = { rule, claim: 'policy', expected: 'a policy that can be asked', found: error.message };
  return {
    language: kind,
    id: '',
    countsMachines: false,
    ask: async () => ({ allowed: false, rules: [rule], denials: [denial] }),
    close: async () => undefined,
  };
}

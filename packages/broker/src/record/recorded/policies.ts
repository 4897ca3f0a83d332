import { toHex } from '@vouchsafe/sev';
import { type PolicyFamily, policyDigest } from '../../policy/policy-store.js';
import type { StateKeys } from '../../secrets/state-keys.js';
import type { Queries } from '../../state/database.js';
import type { RecordEntry } from '../entry.js';
import type { RecordedPart } from './part.js';

interface RecordedPolicy {
  readonly name: string;
  latest: number;
  /** The newest version that was removed; 0 for none. */
  removed: number;
}

const families: Readonly<Record<string, PolicyFamily>> = {
  policy: 'policy',
  launch: 'launch',
  issuer: 'issuer',
  'attestation-policy': 'attestation',
};

/** Newest versions of release policies, launches, issuers and attestation policies, and which of them were removed. */
export class RecordedPolicies implements RecordedPart {
  readonly #keys: StateKeys;
  /** By the digest of their names. */
  readonly #policies = new Map<string, RecordedPolicy>();

  constructor(keys: StateKeys) {
    this.#keys = keys;
  }

  note({ kind, body }: RecordEntry): void {
    const { act, name, version } = body;
    if (kind !== 'administration' || typeof act !== 'string' || typeof name !== 'string') return;
    const [what = '', verb] = act.split('.');
    const family = Object.hasOwn(families, what) ? families[what] : undefined;
    if (family === undefined || typeof version !== 'number') return;
    const policy = this.#policy(family, name, `${what} ${name}`);
    if (verb === 'set') policy.latest = Math.max(policy.latest, version);
    if (verb === 'delete') policy.removed = Math.max(policy.removed, version);
  }

  async differences({ query }: Queries): Promise<string[]> {
    const found: string[] = [];
    const rows = await query
      .selectFrom('policies')
      .select(['name_digest', 'latest_version', 'state'])
      .execute();
    const rowOf = new Map(rows.map((row) => [toHex(row.name_digest), row]));
    for (const [digest, { name, latest, removed }] of this.#policies) {
      const row = rowOf.get(digest);
      const actual = row === undefined ? 'not there' : standing(row.latest_version, row.state === 'deleted');
      const wanted = standing(latest, removed === latest);
      if (actual !== wanted) found.push(`${name}: ${actual}, by the record ${wanted}`);
    }
    for (const digest of rowOf.keys()) {
      if (!this.#policies.has(digest)) found.push('a policy is there, and not in the record');
    }
    return found;
  }

  #policy(family: PolicyFamily, name: string, text: string): RecordedPolicy {
    const digest = toHex(policyDigest(this.#keys, family, name));
    const known = this.#policies.get(digest);
    if (known !== undefined) return known;
    const added = { name: text, latest: 0, removed: 0 };
    this.#policies.set(digest, added);
    return added;
  }
}

const standing = (version: number, isRemoved: boolean) =>
  isRemoved ? `version ${version}, removed` : `version ${version}`;

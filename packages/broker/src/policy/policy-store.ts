import { InvalidArgumentError, openSecret, type RandomSource, toHex } from '@vouchsafe/sev';
import type { Kysely } from 'kysely';
import type { StateKeys } from '../secrets/state-keys.js';
import { isoTime, locked, type Transaction } from '../state/database.js';
import type { Tables } from '../state/tables.js';
import { markRulesChanged } from './rules-edition.js';

/** What the broker keeps under a name, version by version, and seals: release policies, expected launches, and issuers. */
export type PolicyKind = ReleasePolicyKind | OtherKind;
/** `attestation`: one of Trustee's attestation policies; `issuer`: keys that reference values are signed with. */
type OtherKind = 'launch' | 'issuer' | 'attestation';
const otherKinds: readonly PolicyKind[] = ['launch', 'issuer', 'attestation'];
export type ReleasePolicyKind = 'cedar' | 'trustee' | 'compiled-rego';
/** Release policies share their names, whatever language they are in; the other kinds have names of their own. */
export type PolicyFamily = 'policy' | OtherKind;
export const releasePolicyKinds: readonly ReleasePolicyKind[] = ['cedar', 'trustee', 'compiled-rego'];

export interface StoredPolicy {
  readonly id: string;
  readonly name: string;
  readonly kind: PolicyKind;
  readonly version: number;
  readonly content: Uint8Array;
  readonly author: string;
  /** ISO 8601. */
  readonly createdAt: string;
}

export type PolicySummary = Omit<StoredPolicy, 'content'>;

export interface NewPolicy {
  readonly name: string;
  readonly kind: PolicyKind;
  readonly content: Uint8Array;
  readonly author: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** The policy of resources that name none. */
export const defaultPolicyName = 'default';

const shape = /^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}$/;
type Query = Pick<Kysely<Tables>, 'selectFrom'>;
type Row = Tables['policies'];

/**
 * Policies in the database. A new version replaces the one before it; all are kept, so that the record can name them.
 * @throws RefusedError (`state.row`) from every reading method, for rows that were edited by hand
 */
export class PolicyStore {
  readonly #keys: StateKeys;
  readonly #random: RandomSource;

  constructor(keys: StateKeys, random: RandomSource) {
    this.#keys = keys;
    this.#random = random;
  }

  /** Adds a policy, or a new version of it. @throws InvalidArgumentError for a name that cannot be */
  async set(tx: Transaction, given: NewPolicy): Promise<PolicySummary> {
    const { name, kind, content, author, now } = given;
    requirePolicyName(name);
    const found = await locked(tx, this.#named(tx.query, kind, name)).executeTakeFirst();
    const before = found && this.#require(found);
    const id = before?.id ?? toHex(this.#random(16));
    const version = (before?.latest_version ?? 0) + 1;
    const row = this.#keys.withMac('policies', {
      id,
      kind,
      name: before?.name ?? this.#keys.sealText(['policies', id, 'name'], name),
      name_digest: this.#digestOf(kind, name),
      state: 'enabled' as const,
      latest_version: version,
    });
    if (before === undefined) await tx.query.insertInto('policies').values(row).execute();
    else await tx.query.updateTable('policies').set(row).where('id', '=', id).execute();
    const created_at = isoTime(now);
    await tx.query
      .insertInto('policy_versions')
      .values({
        policy_id: id,
        version,
        content: this.#keys.seal(contentPlace(id, version), content),
        author,
        created_at,
      })
      .execute();
    await markRulesChanged(tx, toHex(this.#random(16)));
    return { id, name, kind, version, author, createdAt: created_at };
  }

  /** @returns the version that was the newest; undefined when there is none of that name */
  async remove(tx: Transaction, name: string, kind: PolicyKind): Promise<number | undefined> {
    const found = await locked(tx, this.#named(tx.query, kind, name)).executeTakeFirst();
    if (found === undefined || found.state === 'deleted') return undefined;
    const { mac: _, ...row } = this.#require(found);
    const deleted = this.#keys.withMac('policies', { ...row, state: 'deleted' as const });
    await tx.query.updateTable('policies').set(deleted).where('id', '=', row.id).execute();
    await markRulesChanged(tx, toHex(this.#random(16)));
    return row.latest_version;
  }

  /** The newest version by name; undefined when there is none, or it was deleted. */
  async find(query: Query, name: string, kind: PolicyKind): Promise<StoredPolicy | undefined> {
    const row = await this.#named(query, kind, name).executeTakeFirst();
    return row === undefined ? undefined : this.#open(query, row);
  }

  /** The newest version by id. */
  async byId(query: Query, id: string): Promise<StoredPolicy | undefined> {
    const row = await query.selectFrom('policies').selectAll().where('id', '=', id).executeTakeFirst();
    return row === undefined ? undefined : this.#open(query, row);
  }

  /** What is in force, by name. */
  async list(query: Query, kinds: readonly PolicyKind[]): Promise<StoredPolicy[]> {
    const rows = await query
      .selectFrom('policies')
      .selectAll()
      .where('kind', 'in', [...kinds])
      .where('state', '=', 'enabled')
      .execute();
    const found = await Promise.all(rows.map((row) => this.#open(query, row)));
    return found.flatMap((each) => each ?? []).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async #open(query: Query, found: Row): Promise<StoredPolicy | undefined> {
    const { id, kind, name, state, latest_version: version } = this.#require(found);
    if (state === 'deleted') return undefined;
    const row = await query
      .selectFrom('policy_versions')
      .selectAll()
      .where('policy_id', '=', id)
      .where('version', '=', version)
      .executeTakeFirst();
    if (row === undefined) return undefined;
    const content = this.#keys.open(contentPlace(id, version), row.content);
    const bytes = openSecret(content).slice();
    content.zero();
    return {
      id,
      name: this.#keys.openText(['policies', id, 'name'], name),
      kind: kind as PolicyKind,
      version,
      content: bytes,
      author: row.author,
      createdAt: row.created_at,
    };
  }

  #require(row: Row): Row {
    return this.#keys.requireMac('policies', row.id, row);
  }

  #named(query: Query, kind: PolicyKind, name: string) {
    return query.selectFrom('policies').selectAll().where('name_digest', '=', this.#digestOf(kind, name));
  }

  #digestOf(kind: PolicyKind, name: string): Uint8Array {
    return policyDigest(this.#keys, isOther(kind) ? kind : 'policy', name);
  }
}

const isOther = (kind: PolicyKind): kind is OtherKind => otherKinds.includes(kind);

/** What a policy's row is found by. */
export function policyDigest(keys: StateKeys, family: PolicyFamily, name: string): Uint8Array {
  return keys.digestOf(family, name);
}

const contentPlace = (id: string, version: number) => ['policy_versions', id, version, 'content'];

/** @throws InvalidArgumentError */
export function requirePolicyName(name: string): void {
  if (!shape.test(name))
    throw new InvalidArgumentError(
      'name',
      'expected up to 128 letters, digits and _, and after the first also . @ -',
    );
}

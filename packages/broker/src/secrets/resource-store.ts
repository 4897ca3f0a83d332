import { InvalidArgumentError, type RandomSource, type Secret, toHex } from '@vouchsafe/sev';
import { isoTime, locked, type Queries, type Transaction } from '../state/database.js';
import type { ResourceRow } from '../state/tables.js';
import { closeEnvelope } from './envelope.js';
import {
  fetchForRelease,
  findResource,
  machineDigest,
  type ReleaseDependencies,
  type ReleaseOutcome,
  type ReleaseRequest,
  requireAllVersions,
} from './release.js';
import {
  namePlace,
  requireResource,
  requireVersion,
  resourceName,
  type VersionFacts,
  versionColumns,
  withResourceMac,
  withVersionMac,
} from './resource-rows.js';

export interface NewVersion {
  /** Remains the caller's to zero. */
  readonly secret: Secret;
  /** Milliseconds since 1970, as `notAfter`; both included. */
  readonly notBefore?: number;
  readonly notAfter?: number;
  /** How often the version may be released: 1 for a one-time secret; not counted where there is none. */
  readonly releaseLimit?: number;
}

export interface VersionDescription {
  readonly version: number;
  readonly state: 'enabled' | 'disabled' | 'deleted';
  /** ISO 8601, as all times here. */
  readonly notBefore?: string;
  readonly notAfter?: string;
  readonly releaseLimit?: number;
  /** Counted releases so far. */
  readonly released: number;
  readonly createdAt: string;
}

export interface ResourceDescription {
  readonly id: string;
  readonly path: string;
  readonly state: 'enabled' | 'disabled' | 'deleted';
  /** The policy that was set for it. */
  readonly policy?: string;
  readonly createdAt: string;
  /** Newest first. */
  readonly versions: readonly VersionDescription[];
}

/** Secrets by path. What changes anything happens in the caller's transaction, the record's entry included. */
export interface ResourceStore {
  /**
   * Adds a version, and the resource if it is new or was deleted. Versions count from 1 and no number comes twice.
   * @param by who does it, for the record
   * @throws InvalidArgumentError for a validity that ends before it begins, or a limit that is no whole number from 1
   */
  put(tx: Transaction, path: string, version: NewVersion, by: string): Promise<number>;
  /** Enables or disables a resource, or one version of it. @returns whether there is one that is not deleted */
  setState(
    tx: Transaction,
    path: string,
    change: { readonly state: 'enabled' | 'disabled'; readonly version?: number },
    by: string,
  ): Promise<boolean>;
  /** Destroys the content of a resource's versions, or of one. @returns whether there was one that was not deleted */
  delete(tx: Transaction, path: string, change: { readonly version?: number }, by: string): Promise<boolean>;
  /** Which policy decides over the release; null for the default. @returns whether there is such a resource */
  setPolicy(tx: Transaction, path: string, policy: string | null, by: string): Promise<boolean>;
  /** Without the secret. @param from a transaction or a database */
  describe(from: Queries, path: string): Promise<ResourceDescription | undefined>;
  /** All resources, by path. */
  list(from: Queries): Promise<ResourceDescription[]>;
  /** See {@link fetchForRelease}. */
  fetchForRelease(tx: Transaction, request: ReleaseRequest): Promise<ReleaseOutcome>;
  /** How many machines but this one have had the resource. Whoever else counts waits until the transaction ends. */
  otherMachines(tx: Transaction, path: string, machine: string): Promise<number>;
}

export interface ResourceStoreOptions extends ReleaseDependencies {
  readonly random: RandomSource;
}

const longestPath = 1024;

export function resourceStore(options: ResourceStoreOptions): ResourceStore {
  const { keys, clock, record, random } = options;

  const administer = (
    tx: Transaction,
    act: string,
    subject: string,
    by: string,
    more: Record<string, string | number | null>,
  ) => record.append(tx, { kind: 'administration', subject, body: { act, by, ...more } });

  async function lockResource(tx: Transaction, path: string): Promise<ResourceRow | undefined> {
    const digest = keys.digestOf('resource', path);
    const row = tx.query.selectFrom('resources').selectAll().where('name_digest', '=', digest);
    const found = await locked(tx, row).executeTakeFirst();
    return found === undefined ? undefined : requireResource(keys, found);
  }

  async function lockOrAddResource(tx: Transaction, path: string, now: string): Promise<ResourceRow> {
    const known = await lockResource(tx, path);
    if (known !== undefined) return known;
    const id = toHex(random(16));
    const row = withResourceMac(keys, {
      id,
      name: keys.sealText(namePlace(id), path),
      name_digest: keys.digestOf('resource', path),
      state: 'enabled',
      latest_version: 0,
      policy_id: null,
      created_at: now,
    });
    await tx.query
      .insertInto('resources')
      .values(row)
      .onConflict((conflict) => conflict.column('name_digest').doNothing())
      .execute();
    return (await lockResource(tx, path))!;
  }

  async function changeResource(
    tx: Transaction,
    row: ResourceRow,
    change: Partial<ResourceRow>,
  ): Promise<void> {
    const { mac: _mac, ...values } = { ...row, ...change };
    await tx.query
      .updateTable('resources')
      .set(withResourceMac(keys, values))
      .where('id', '=', row.id)
      .execute();
  }

  /** The versions that a change means: one, or all. Locked. */
  async function lockVersions(
    tx: Transaction,
    { id }: ResourceRow,
    version?: number,
  ): Promise<VersionFacts[]> {
    const rows = tx.query
      .selectFrom('resource_versions')
      .select(versionColumns)
      .where('resource_id', '=', id);
    const wanted = version === undefined ? rows : rows.where('version', '=', version);
    const found = await locked(tx, wanted.orderBy('version')).execute();
    return found.map((facts) => requireVersion(keys, facts));
  }

  async function changeVersion(
    tx: Transaction,
    facts: VersionFacts,
    change: Partial<VersionFacts>,
    content: { wrapped_key: null; ciphertext: null } | object = {},
  ): Promise<void> {
    const { mac: _mac, ...values } = { ...facts, ...change };
    await tx.query
      .updateTable('resource_versions')
      .set({ ...withVersionMac(keys, values), ...content })
      .where('resource_id', '=', facts.resource_id)
      .where('version', '=', facts.version)
      .execute();
  }

  return {
    async put(tx, path, version, by) {
      if (path.length === 0 || path.length > longestPath) {
        throw new InvalidArgumentError('path', `expected 1 to ${longestPath} characters`);
      }
      const limits = requireLimits(version);
      const now = isoTime(clock.now());
      const resource = await lockOrAddResource(tx, path, now);
      const number = resource.latest_version + 1;
      const facts = withVersionMac(keys, {
        resource_id: resource.id,
        version: number,
        state: 'enabled',
        ...limits,
        released: 0,
        created_at: now,
      });
      const envelope = closeEnvelope(keys, resource.id, number, version.secret, random);
      await tx.query
        .insertInto('resource_versions')
        .values({ ...facts, ...envelope })
        .execute();
      const state = resource.state === 'deleted' ? 'enabled' : resource.state;
      await changeResource(tx, resource, { latest_version: number, state });
      administer(tx, 'secret.put', path, by, {
        resource: resource.id,
        version: number,
        state,
        ...limits,
      });
      return number;
    },

    async setState(tx, path, { state, version }, by) {
      const resource = await lockResource(tx, path);
      if (resource === undefined || resource.state === 'deleted') return false;
      if (version === undefined) {
        await changeResource(tx, resource, { state });
      } else {
        const [facts] = await lockVersions(tx, resource, version);
        if (facts === undefined || facts.state === 'deleted') return false;
        await changeVersion(tx, facts, { state });
      }
      const act = state === 'enabled' ? 'secret.enable' : 'secret.disable';
      administer(tx, act, path, by, { resource: resource.id, version: version ?? null });
      return true;
    },

    async delete(tx, path, { version }, by) {
      const resource = await lockResource(tx, path);
      if (resource === undefined || resource.state === 'deleted') return false;
      const versions = await lockVersions(tx, resource, version);
      if (version !== undefined && versions[0]?.state !== 'enabled' && versions[0]?.state !== 'disabled')
        return false;
      for (const facts of versions) {
        await changeVersion(tx, facts, { state: 'deleted' }, { wrapped_key: null, ciphertext: null });
      }
      if (version === undefined) await changeResource(tx, resource, { state: 'deleted' });
      const latest = resource.latest_version;
      administer(tx, 'secret.delete', path, by, { resource: resource.id, version: version ?? null, latest });
      return true;
    },

    async setPolicy(tx, path, policy, by) {
      const resource = await lockResource(tx, path);
      if (resource === undefined || resource.state === 'deleted') return false;
      await changeResource(tx, resource, { policy_id: policy });
      administer(tx, 'secret.policy', path, by, { resource: resource.id, policy });
      return true;
    },

    async describe(from, path) {
      const found = await findResource(from, keys, path);
      return found === undefined ? undefined : description(path, found.resource, found.versions);
    },

    async list({ query }) {
      const resources = await query.selectFrom('resources').selectAll().execute();
      const rows = await query
        .selectFrom('resource_versions')
        .select(versionColumns)
        .orderBy('version', 'desc')
        .execute();
      const versions = new Map<string, VersionFacts[]>(resources.map(({ id }) => [id, []]));
      for (const facts of rows) versions.get(facts.resource_id)?.push(facts);
      return resources
        .map((row) => {
          const resource = requireResource(keys, row);
          // Versions that came after the first statement are not in this list.
          const known = versions.get(row.id)!.filter(({ version }) => version <= row.latest_version);
          return description(
            resourceName(keys, resource),
            resource,
            requireAllVersions(keys, resource, known),
          );
        })
        .sort((one, other) => (one.path < other.path ? -1 : 1));
    },

    fetchForRelease: (tx, request) => fetchForRelease(tx, options, request),

    async otherMachines(tx, path, machine) {
      const resource = await lockResource(tx, path);
      if (resource === undefined) return 0;
      const { count } = await tx.query
        .selectFrom('resource_machines')
        .select(({ fn }) => fn.countAll<number>().as('count'))
        .where('resource_id', '=', resource.id)
        .where('machine', '!=', machineDigest(keys, resource.id, machine))
        .executeTakeFirstOrThrow();
      return Number(count);
    },
  };
}

function requireLimits({ notBefore, notAfter, releaseLimit }: NewVersion) {
  if (notBefore !== undefined && notAfter !== undefined && notAfter < notBefore) {
    throw new InvalidArgumentError('notAfter', 'the validity ends before it begins');
  }
  if (releaseLimit !== undefined && !(Number.isSafeInteger(releaseLimit) && releaseLimit >= 1)) {
    throw new InvalidArgumentError('releaseLimit', 'expected a whole number from 1');
  }
  return {
    not_before: notBefore === undefined ? null : isoTime(notBefore),
    not_after: notAfter === undefined ? null : isoTime(notAfter),
    release_limit: releaseLimit ?? null,
  };
}

function description(
  path: string,
  { id, state, policy_id: policy, created_at: createdAt }: ResourceRow,
  versions: readonly VersionFacts[],
): ResourceDescription {
  return {
    id,
    path,
    state,
    ...(policy === null ? {} : { policy }),
    createdAt,
    versions: versions.map((facts) => ({
      version: facts.version,
      state: facts.state,
      ...(facts.not_before === null ? {} : { notBefore: facts.not_before }),
      ...(facts.not_after === null ? {} : { notAfter: facts.not_after }),
      ...(facts.release_limit === null ? {} : { releaseLimit: facts.release_limit }),
      released: facts.released,
      createdAt: facts.created_at,
    })),
  };
}

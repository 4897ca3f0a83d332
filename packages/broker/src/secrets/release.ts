import { type Secret, toHex } from '@vouchsafe/sev';
import type { Json } from '../record/entry.js';
import type { BrokerRecord } from '../record/record.js';
import { refuseState } from '../state/checks.js';
import type { BrokerClock } from '../state/clock.js';
import { isoTime, locked, type Queries, type Transaction } from '../state/database.js';
import type { ResourceRow } from '../state/tables.js';
import { openEnvelope } from './envelope.js';
import { requireResource, requireVersion, type VersionFacts, versionColumns } from './resource-rows.js';
import type { StateKeys } from './state-keys.js';

export interface ReleaseRequest {
  /** `repository/type/tag`. */
  readonly path: string;
  /** What {@link findResource} found there in this transaction; left out, it is looked for. */
  readonly found?: FoundResource | undefined;
  /** Names the key that the answer is encrypted to: its thumbprint. */
  readonly guestKey: string;
  readonly session: string;
  /** Names the machine, for policies that count machines. */
  readonly machine?: string;
  /** More to write into the record: the decision's reference, for example. */
  readonly details?: { readonly [name: string]: Json | undefined };
}

/** Why there is nothing to release. */
export type NotReleasable = 'absent' | 'disabled' | 'deleted' | 'not-yet-valid' | 'expired' | 'used-up';

export type ReleaseOutcome =
  | {
      readonly outcome: 'released';
      /** The caller's to zero. */
      readonly secret: Secret;
      readonly version: number;
      /** The same key had it in the same session before; nothing was counted. */
      readonly again: boolean;
      /** Of the record's entry. */
      readonly reference: string;
    }
  | { readonly outcome: NotReleasable; readonly version?: number };

export interface ReleaseDependencies {
  readonly keys: StateKeys;
  readonly clock: BrokerClock;
  readonly record: BrokerRecord;
}

/**
 * Counts a release, opens the secret and writes the record's entry, all in the caller's transaction: the secret must not
 * leave before that is durable, and is zeroed if it never is.
 *
 * The newest version that is enabled and valid now is released. Where releases are counted, the guest key that has had
 * a version gets it again in the same session, free of charge; any other key or session is another release.
 * @throws RefusedError (`state.row`) for rows that were edited
 */
export async function fetchForRelease(
  tx: Transaction,
  { keys, clock, record }: ReleaseDependencies,
  request: ReleaseRequest,
): Promise<ReleaseOutcome> {
  const now = isoTime(clock.now());
  const found = request.found ?? (await findResource(tx, keys, request.path));
  if (found === undefined) return { outcome: 'absent' };
  const { resource, versions } = found;
  if (resource.state !== 'enabled') return { outcome: resource.state };

  const releasable = versions.filter((facts) => obstacle(facts, now) === undefined);
  const isCounted = releasable.some(({ release_limit }) => release_limit !== null);
  const had = isCounted ? await versionsHad(tx, keys, resource.id, request) : new Set<number>();
  const chosen = releasable.find(({ version }) => had.has(version)) ?? releasable[0];
  const newest = versions[0];
  if (chosen === undefined) {
    return newest === undefined
      ? { outcome: 'absent' }
      : { outcome: obstacle(newest, now) ?? 'absent', version: newest.version };
  }
  const { version } = chosen;
  const counted = chosen.release_limit === null ? 'unlimited' : await count(tx, keys, chosen, request, now);
  if (counted !== 'unlimited' && counted !== 'counted' && counted !== 'again') {
    return { outcome: counted, version };
  }

  const secret = await openContent(tx, keys, resource.id, version);
  tx.ifUndone(() => secret.zero());
  const machine =
    request.machine === undefined
      ? undefined
      : await noteMachine(tx, keys, resource.id, request.machine, now);
  const again = counted === 'again';
  const { guestKey, session, details } = request;
  const reference = record.append(tx, {
    kind: 'release',
    subject: request.path,
    body: {
      ...details,
      resource: resource.id,
      version,
      guestKey,
      session,
      machine,
      counted: counted === 'counted',
      again,
    },
  });
  return { outcome: 'released', secret, version, again, reference };
}

export interface FoundResource {
  readonly resource: ResourceRow;
  /** Newest first, without gaps. */
  readonly versions: readonly VersionFacts[];
}

/** A resource with what is known of its versions, in one statement: both are of the same moment. */
export async function findResource(
  { query }: Queries,
  keys: StateKeys,
  path: string,
): Promise<FoundResource | undefined> {
  const rows = await query
    .selectFrom('resources')
    .leftJoin('resource_versions', 'resource_versions.resource_id', 'resources.id')
    .select([
      'resources.id as r_id',
      'resources.name as r_name',
      'resources.name_digest as r_name_digest',
      'resources.state as r_state',
      'resources.latest_version as r_latest_version',
      'resources.policy_id as r_policy_id',
      'resources.created_at as r_created_at',
      'resources.mac as r_mac',
    ])
    .select(versionColumns.map((column) => `resource_versions.${column}` as const))
    .where('resources.name_digest', '=', keys.digestOf('resource', path))
    .orderBy('resource_versions.version', 'desc')
    .execute();
  const [first] = rows;
  if (first === undefined) return undefined;
  const resource = requireResource(keys, {
    id: first.r_id,
    name: first.r_name,
    name_digest: first.r_name_digest,
    state: first.r_state,
    latest_version: first.r_latest_version,
    policy_id: first.r_policy_id,
    created_at: first.r_created_at,
    mac: first.r_mac,
  });
  const versions = rows
    .map(
      (row) =>
        Object.fromEntries(versionColumns.map((column) => [column, row[column]])) as unknown as VersionFacts,
    )
    .filter(({ version }) => version !== null);
  return { resource, versions: requireAllVersions(keys, resource, versions) };
}

/** A version that was taken out by hand would let the one before it be released again. */
export function requireAllVersions(
  keys: StateKeys,
  resource: ResourceRow,
  versions: readonly VersionFacts[],
): readonly VersionFacts[] {
  for (let version = resource.latest_version; version >= 1; version--) {
    if (versions[resource.latest_version - version]?.version !== version) {
      refuseState('database', 'state.row', {
        expected: `version ${version} of resource ${resource.id}`,
        found: 'no such row',
      });
    }
  }
  return versions.map((facts) => requireVersion(keys, facts));
}

function obstacle(facts: VersionFacts, now: string): NotReleasable | undefined {
  if (facts.state !== 'enabled') return facts.state;
  if (facts.not_before !== null && now < facts.not_before) return 'not-yet-valid';
  if (facts.not_after !== null && now > facts.not_after) return 'expired';
  return undefined;
}

async function versionsHad(
  tx: Transaction,
  keys: StateKeys,
  resource: string,
  { guestKey, session }: ReleaseRequest,
): Promise<ReadonlySet<number>> {
  const rows = await tx.query
    .selectFrom('released')
    .selectAll()
    .where('resource_id', '=', resource)
    .where('guest_key', '=', guestKey)
    .where('session_id', '=', session)
    .execute();
  return new Set(rows.map((row) => keys.requireMac('released', `${resource} ${row.version}`, row).version));
}

/** One more release of a version, unless this key has had it in this session, or all have been used. */
async function count(
  tx: Transaction,
  keys: StateKeys,
  { resource_id, version }: VersionFacts,
  request: ReleaseRequest,
  now: string,
): Promise<'counted' | 'again' | NotReleasable> {
  // From here on this version is ours until the commit; what was read before may have changed meanwhile.
  const row = tx.query
    .selectFrom('resource_versions')
    .select(versionColumns)
    .where('resource_id', '=', resource_id)
    .where('version', '=', version);
  const facts = requireVersion(keys, await locked(tx, row).executeTakeFirstOrThrow());
  if (facts.state !== 'enabled') return facts.state;
  if ((await versionsHad(tx, keys, resource_id, request)).has(version)) return 'again';
  if (facts.released >= (facts.release_limit ?? 0)) return 'used-up';

  const grant = {
    resource_id,
    version,
    guest_key: request.guestKey,
    session_id: request.session,
    released_at: now,
  };
  await tx.query.insertInto('released').values(keys.withMac('released', grant)).execute();
  const { mac: _mac, ...values } = facts;
  const { released, mac } = keys.withMac('resource_versions', { ...values, released: facts.released + 1 });
  await tx.query
    .updateTable('resource_versions')
    .set({ released, mac })
    .where('resource_id', '=', resource_id)
    .where('version', '=', version)
    .execute();
  return 'counted';
}

async function openContent(
  tx: Transaction,
  keys: StateKeys,
  resource: string,
  version: number,
): Promise<Secret> {
  const { wrapped_key, ciphertext } = await tx.query
    .selectFrom('resource_versions')
    .select(['wrapped_key', 'ciphertext'])
    .where('resource_id', '=', resource)
    .where('version', '=', version)
    .executeTakeFirstOrThrow();
  const secret =
    wrapped_key === null || ciphertext === null
      ? undefined
      : openEnvelope(keys, resource, version, { wrapped_key, ciphertext });
  return (
    secret ??
    refuseState('database', 'state.row', {
      expected: `the content of version ${version} of resource ${resource}`,
      found: 'something else in its place',
    })
  );
}

async function noteMachine(
  tx: Transaction,
  keys: StateKeys,
  resource: string,
  name: string,
  now: string,
): Promise<string> {
  const machine = machineDigest(keys, resource, name);
  await tx.query
    .insertInto('resource_machines')
    .values({ resource_id: resource, machine, first_at: now })
    .onConflict((conflict) => conflict.columns(['resource_id', 'machine']).doNothing())
    .execute();
  return toHex(machine);
}

export function machineDigest(keys: StateKeys, resource: string, name: string): Uint8Array {
  return keys.digestOf(`machine of ${resource}`, name);
}

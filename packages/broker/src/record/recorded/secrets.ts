import { toHex } from '@vouchsafe/sev';
import type { Queries } from '../../state/database.js';
import type { RecordEntry } from '../entry.js';
import { LastActs } from './last-acts.js';
import type { RecordedPart } from './part.js';

interface RecordedResource {
  latest: number;
  readonly deleted: Set<number>;
  readonly releases: Map<number, number>;
  readonly machines: Set<string>;
  /** `resource` and `version 2`: enabled or disabled. */
  readonly states: LastActs;
  readonly policy: LastActs;
}

/** Versions, states, policies, releases and machines of secrets. */
export class RecordedSecrets implements RecordedPart {
  readonly #resources = new Map<string, RecordedResource>();

  note({ kind, replica, body }: RecordEntry): void {
    if (typeof body['resource'] !== 'string') return;
    const resource = this.#resource(body['resource']);
    const version = typeof body['version'] === 'number' ? body['version'] : undefined;
    const whole = version === undefined ? 'resource' : `version ${version}`;
    const { act } = body;
    if (kind === 'release') {
      if (version !== undefined && body['counted'] === true) {
        resource.releases.set(version, (resource.releases.get(version) ?? 0) + 1);
      }
      if (typeof body['machine'] === 'string') resource.machines.add(body['machine']);
    } else if (act === 'secret.put' && version !== undefined) {
      resource.latest = Math.max(resource.latest, version);
      resource.states.note(replica, 'resource', String(body['state']));
      resource.states.note(replica, whole, 'enabled');
    } else if (act === 'secret.enable' || act === 'secret.disable') {
      resource.states.note(replica, whole, act === 'secret.enable' ? 'enabled' : 'disabled');
    } else if (act === 'secret.policy') {
      resource.policy.note(replica, 'policy', String(body['policy']));
    } else if (act === 'secret.delete') {
      resource.states.note(replica, whole, 'deleted');
      const latest = typeof body['latest'] === 'number' ? body['latest'] : 0;
      const versions = version === undefined ? Array.from({ length: latest }, (_, i) => i + 1) : [version];
      for (const each of versions) resource.deleted.add(each);
    }
  }

  /** One text for each difference. */
  async differences({ query }: Queries): Promise<string[]> {
    const found: string[] = [];
    const rows = await query
      .selectFrom('resources')
      .select(['id', 'latest_version', 'state', 'policy_id'])
      .execute();
    const versions = await query
      .selectFrom('resource_versions')
      .select(['resource_id', 'version', 'state', 'released'])
      .execute();
    const released = await query.selectFrom('released').select(['resource_id', 'version']).execute();
    const machines = await query.selectFrom('resource_machines').select(['resource_id', 'machine']).execute();

    const resourceOf = new Map(rows.map((row) => [row.id, row]));
    const rowOf = new Map(versions.map((row) => [`${row.resource_id} ${row.version}`, row]));
    const grants = new Map<string, number>();
    for (const { resource_id: id, version } of released) {
      grants.set(`${id} ${version}`, (grants.get(`${id} ${version}`) ?? 0) + 1);
    }
    const machinesOf = new Map<string, Set<string>>(rows.map(({ id }) => [id, new Set()]));
    for (const { resource_id: id, machine } of machines) machinesOf.get(id)?.add(toHex(machine));

    for (const [id, recorded] of this.#resources) {
      const compare = (what: string, expected: number, actual: number) => {
        if (expected !== actual) found.push(`resource ${id}: ${what}: ${actual}, by the record ${expected}`);
      };
      const agree = (acts: LastActs, what: string, actual: string | undefined) => {
        const wanted = acts.of(what);
        if (actual !== undefined && wanted.size > 0 && !wanted.has(actual))
          found.push(`resource ${id}: ${what}: ${actual}, by the record ${[...wanted].join(' or ')}`);
      };
      const row = resourceOf.get(id);
      compare('newest version', recorded.latest, row?.latest_version ?? 0);
      agree(recorded.states, 'resource', row?.state);
      agree(recorded.policy, 'policy', row === undefined ? undefined : String(row.policy_id));
      for (let version = 1; version <= recorded.latest; version++) {
        const name = `${id} ${version}`;
        const releases = recorded.releases.get(version) ?? 0;
        compare(`releases of version ${version}`, releases, rowOf.get(name)?.released ?? 0);
        compare(`holders of version ${version}`, releases, grants.get(name) ?? 0);
        if (recorded.deleted.has(version) && rowOf.get(name)?.state !== 'deleted') {
          found.push(`resource ${id}: version ${version} is there, by the record deleted`);
        } else if (!recorded.deleted.has(version)) {
          agree(recorded.states, `version ${version}`, rowOf.get(name)?.state);
        }
      }
      const known = machinesOf.get(id) ?? new Set();
      compare(
        'machines',
        recorded.machines.size,
        [...known].filter((each) => recorded.machines.has(each)).length,
      );
    }
    for (const id of resourceOf.keys()) {
      if (!this.#resources.has(id)) found.push(`resource ${id}: there, and not in the record`);
    }
    return found;
  }

  #resource(id: string): RecordedResource {
    const known = this.#resources.get(id);
    if (known !== undefined) return known;
    const added = {
      latest: 0,
      deleted: new Set<number>(),
      releases: new Map(),
      machines: new Set<string>(),
      states: new LastActs(),
      policy: new LastActs(),
    };
    this.#resources.set(id, added);
    return added;
  }
}

import type { StateKeys } from '../secrets/state-keys.js';
import type { ResourceRow, ResourceVersionRow } from '../state/tables.js';

/** What is known of a version without its content. */
export type VersionFacts = Omit<ResourceVersionRow, 'wrapped_key' | 'ciphertext'>;

/** All columns of a version but its content, which is sealed and answers for itself. */
export const versionColumns = [
  'resource_id',
  'version',
  'state',
  'not_before',
  'not_after',
  'release_limit',
  'released',
  'created_at',
  'mac',
] as const satisfies readonly (keyof VersionFacts)[];

export function withResourceMac(keys: StateKeys, row: Omit<ResourceRow, 'mac'>): ResourceRow {
  return keys.withMac('resources', row);
}

/** @throws RefusedError (`state.row`) */
export function requireResource(keys: StateKeys, row: ResourceRow): ResourceRow {
  return keys.requireMac('resources', row.id, row);
}

export function withVersionMac(keys: StateKeys, facts: Omit<VersionFacts, 'mac'>): VersionFacts {
  return keys.withMac('resource_versions', facts);
}

/** @throws RefusedError (`state.row`) */
export function requireVersion(keys: StateKeys, facts: VersionFacts): VersionFacts {
  return keys.requireMac('resource_versions', `${facts.resource_id} ${facts.version}`, facts);
}

export function resourceName(keys: StateKeys, { id, name }: Pick<ResourceRow, 'id' | 'name'>): string {
  return keys.openText(namePlace(id), name);
}

export const namePlace = (id: string) => ['resources', id, 'name'];
export const keyPlace = (id: string, version: number) => ['resource_versions', id, version, 'key'];
export const contentPlace = (id: string, version: number) => ['resource_versions', id, version, 'content'];

import type { Queries } from '../../state/database.js';
import type { RecordEntry } from '../entry.js';
import type { RecordedPart } from './part.js';

/** Newest versions of reference values: without the newest, the one before it would be in force again. */
export class RecordedReferences implements RecordedPart {
  readonly #newest = new Map<string, number>();

  note({ kind, body }: RecordEntry): void {
    const { act, issuer, name, version } = body;
    if (kind !== 'administration' || act !== 'reference.put' || typeof version !== 'number') return;
    const key = `${issuer}/${name}`;
    this.#newest.set(key, Math.max(this.#newest.get(key) ?? 0, version));
  }

  async differences({ query }: Queries): Promise<string[]> {
    const rows = await query
      .selectFrom('reference_values')
      .select(({ fn }) => ['issuer', 'name', fn.max('version').as('version')])
      .groupBy(['issuer', 'name'])
      .execute();
    const stored = new Map(rows.map(({ issuer, name, version }) => [`${issuer}/${name}`, Number(version)]));
    return [...this.#newest]
      .filter(([key, version]) => stored.get(key) !== version)
      .map(
        ([key, version]) =>
          `reference values ${key}: newest version ${stored.get(key) ?? 0}, by the record ${version}`,
      );
  }
}

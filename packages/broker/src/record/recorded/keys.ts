import type { Queries } from '../../state/database.js';
import type { RecordEntry } from '../entry.js';
import { LastActs } from './last-acts.js';
import type { RecordedPart } from './part.js';

/** The master key, keys that sign tokens, of which one does, and administrators' tokens that were revoked. */
export class RecordedKeys implements RecordedPart {
  readonly #signingKeys = new Set<string>();
  readonly #revoked = new Set<string>();
  readonly #masterKey = new LastActs();

  note({ kind, replica, body }: RecordEntry): void {
    if (kind !== 'administration') return;
    const { act, id, kid, to } = body;
    if (act === 'master-key.change') this.#masterKey.note(replica, 'master key', String(to));
    if (act === 'key.rotate' && typeof kid === 'string') this.#signingKeys.add(kid);
    if (act === 'token.revoke' && typeof id === 'string') this.#revoked.add(id);
  }

  async differences({ query }: Queries): Promise<string[]> {
    const found: string[] = [];
    const masters = this.#masterKey.of('master key');
    for (const { master } of await query.selectFrom('root_keys').select('master').execute())
      if (masters.size > 0 && !masters.has(master))
        found.push(`master key: ${master}, by the record ${[...masters].join(' or ')}`);
    const keys = await query.selectFrom('signing_keys').select(['id', 'not_after']).execute();
    const known = new Set(keys.map(({ id }) => id));
    for (const kid of this.#signingKeys)
      if (!known.has(kid)) found.push(`signing key ${kid}: not there, by the record made`);
    const signing = keys.filter(({ not_after }) => not_after === null);
    // Each new key ends the one before it.
    if (this.#signingKeys.size > 0 && signing.length !== 1)
      found.push(`signing keys: ${signing.length} sign, by the record 1`);
    const tokens = await query.selectFrom('admin_tokens').select(['id', 'revoked_at']).execute();
    for (const { id, revoked_at: revokedAt } of tokens)
      if (revokedAt === null && this.#revoked.has(id)) found.push(`token ${id}: good, by the record revoked`);
    return found;
  }
}

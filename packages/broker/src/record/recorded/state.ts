import type { StateKeys } from '../../secrets/state-keys.js';
import type { Queries } from '../../state/database.js';
import type { RecordEntry } from '../entry.js';
import { RecordedKeys } from './keys.js';
import type { RecordedPart } from './part.js';
import { RecordedPolicies } from './policies.js';
import { RecordedReferences } from './references.js';
import { RecordedSecrets } from './secrets.js';

/**
 * What the record says of the state. A row that was put back as it stood once is authentic, and nothing in it tells that
 * it is old: the record does.
 */
export class RecordedState implements RecordedPart {
  readonly #parts: readonly RecordedPart[];

  constructor(keys: StateKeys) {
    this.#parts = [
      new RecordedSecrets(),
      new RecordedPolicies(keys),
      new RecordedReferences(),
      new RecordedKeys(),
    ];
  }

  note(entry: RecordEntry): void {
    for (const part of this.#parts) part.note(entry);
  }

  async differences(queries: Queries): Promise<string[]> {
    const found: string[] = [];
    for (const part of this.#parts) found.push(...(await part.differences(queries)));
    return found;
  }
}

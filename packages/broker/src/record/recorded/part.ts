import type { Queries } from '../../state/database.js';
import type { RecordEntry } from '../entry.js';

/** What the record says of some tables, to be compared with what stands in them. */
export interface RecordedPart {
  /** Entries of one replica must come in their order. */
  note(entry: RecordEntry): void;
  /** One text for each difference. */
  differences(queries: Queries): Promise<string[]>;
}

import type { Database } from '../state/database.js';
import { isoTime } from '../state/database.js';
import type { EndorsementRepository } from './endorsement-shelf.js';

/** Answers of the key service in the broker's database. */
export function databaseEndorsements({ query }: Database): EndorsementRepository {
  return {
    async get(path) {
      const row = await query
        .selectFrom('endorsements')
        .select('content')
        .where('path', '=', path)
        .executeTakeFirst();
      return row?.content;
    },
    async put(path, content, at) {
      const row = { content, fetched_at: isoTime(at) };
      await query
        .insertInto('endorsements')
        .values({ path, ...row })
        .onConflict((conflict) => conflict.column('path').doUpdateSet(row))
        .execute();
    },
  };
}

import { UnavailableError } from '@vouchsafe/sev';
import type { BrokerState } from '../state/open.js';

/** A database without what `broker init` makes. */
export const notInitialised = (): UnavailableError =>
  new UnavailableError('broker', 'its database has not been initialised', {
    hint: 'run `vouchsafe broker init` first',
  });

/** @throws UnavailableError */
export async function requireInitialised({ db }: Pick<BrokerState, 'db'>): Promise<void> {
  const key = await db.query.selectFrom('signing_keys').select('id').limit(1).executeTakeFirst();
  if (key === undefined) throw notInitialised();
}

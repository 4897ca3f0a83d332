import { type BrokerStateOptions, openBrokerState } from '../state/open.js';
import { databaseAdminTokens } from './admin-token-repository.js';
import { requireInitialised } from './initialised.js';
import { roles } from './roles.js';
import { issueToken } from './tokens.js';

/** What {@link recoverAdministration} made. */
export interface RecoveredAdministration {
  /** With every role; it is kept nowhere. */
  readonly token: string;
  readonly id: string;
  /** ISO 8601. */
  readonly expiresAt: string;
}

export interface RecoverAdministrationOptions extends BrokerStateOptions {
  /** Of the token, in milliseconds: 90 days at most. */
  readonly lifetime: number;
}

/**
 * Makes a token with every role without asking anybody for one: whoever can open the state could do anything to it
 * anyway. Brokers may be running over the same database; the token is good there at once.
 * @throws RefusedError as opening the state does; InvalidArgumentError for a lifetime that is too long
 * @throws UnavailableError when the database has not been initialised, or it or the outside copy cannot be reached
 */
export async function recoverAdministration({
  lifetime,
  ...options
}: RecoverAdministrationOptions): Promise<RecoveredAdministration> {
  const state = await openBrokerState(options);
  try {
    await requireInitialised(state);
    const context = { state, tokens: databaseAdminTokens(state.keys), random: options.random };
    const wanted = { name: 'recovered administrator', roles, lifetime };
    const { token, id, expiresAt } = await issueToken(context, wanted, 'broker token recover');
    return { token, id, expiresAt };
  } finally {
    await state.close();
  }
}

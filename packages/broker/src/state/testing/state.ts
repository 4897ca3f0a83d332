import { openSecret, Secret, systemRandom } from '@vouchsafe/sev';
import { onTestFinished } from 'vitest';
import { localMasterKey } from '../../secrets/master-key.js';
import { inTransaction, type Transaction } from '../database.js';
import { type BrokerState, type BrokerStateOptions, openBrokerState } from '../open.js';

/** When tests take place: the start of 2030. */
export const testTime = Date.UTC(2030, 0, 1);

export function masterKey(byte = 1) {
  return localMasterKey(Secret.take(new Uint8Array(32).fill(byte)), systemRandom);
}

/** A broker's state that is closed when the test is over. */
export async function openState(
  database: string,
  options: Partial<BrokerStateOptions> = {},
): Promise<BrokerState> {
  const state = await openBrokerState({
    database,
    masterKey: masterKey(),
    random: systemRandom,
    now: () => testTime,
    replica: 'one',
    ...options,
  });
  let isClosed = false;
  const close = async () => {
    if (isClosed) return;
    isClosed = true;
    await state.close();
  };
  onTestFinished(() => close().catch(() => undefined));
  return { ...state, close };
}

export const secretOf = (text: string) => Secret.take(new TextEncoder().encode(text));

/** What a release gives, as a word or as the secret's text. */
export async function release(
  state: BrokerState,
  path: string,
  [guestKey, session]: readonly [string, string],
): Promise<string> {
  return inTransaction(state.db, async (tx: Transaction) => {
    const result = await state.resources.fetchForRelease(tx, { path, guestKey, session });
    if (result.outcome !== 'released') return result.outcome;
    const text = new TextDecoder().decode(openSecret(result.secret));
    result.secret.zero();
    return `${result.again ? 'again ' : ''}${text}`;
  });
}

import { UnavailableError } from '@vouchsafe/sev';
import { type Database, inTransaction, type Transaction } from '../state/database.js';
import type { PolicyAnswer, PolicyQuestion, ReleasePolicy } from './release-policy.js';

/** How often the answer of a slow policy may grow old before it is used. */
const greatestAttempts = 5;

/**
 * Runs a transaction in which release policies are asked. One that takes its time, in a worker, would hold everybody up
 * there: it is asked outside, and the transaction begun again with its answer, which counts for the very same question
 * only.
 * @param work gives every policy that it asks to `ready` first
 */
export async function askingOutside<T>(
  db: Database,
  work: (tx: Transaction, ready: (policy: ReleasePolicy) => ReleasePolicy) => Promise<T>,
): Promise<T> {
  const answers = new Map<string, PolicyAnswer>();
  for (let attempt = 0; attempt < greatestAttempts; attempt++) {
    try {
      return await inTransaction(db, (tx) => work(tx, (policy) => withAnswers(policy, answers)));
    } catch (error) {
      if (!(error instanceof AskFirst)) throw error;
      answers.set(error.key, await error.ask());
    }
  }
  throw new UnavailableError('release policy', 'what it decides by changes faster than it answers');
}

class AskFirst extends Error {
  readonly key: string;
  readonly ask: () => Promise<PolicyAnswer>;

  constructor(key: string, ask: () => Promise<PolicyAnswer>) {
    super('a policy has to be asked first');
    this.key = key;
    this.ask = ask;
  }
}

function withAnswers(policy: ReleasePolicy, answers: ReadonlyMap<string, PolicyAnswer>): ReleasePolicy {
  if (policy.language !== 'compiled-rego') return policy;
  return {
    ...policy,
    async ask(question) {
      const key = keyOf(policy, question);
      const known = answers.get(key);
      if (known === undefined) throw new AskFirst(key, () => policy.ask(question));
      return known;
    },
  };
}

/** Everything that the question depends on but the moment, which has moved on when the transaction begins again. */
function keyOf({ id }: ReleasePolicy, { now: _, ...question }: PolicyQuestion): string {
  return JSON.stringify([id, question]);
}

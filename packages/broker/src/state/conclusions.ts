import type { Transaction as KyselyTransaction } from 'kysely';
import type { Engine } from './engines.js';
import type { Tables } from './tables.js';

/** A transaction at its end. */
export interface EndingTransaction {
  readonly engine: Engine;
  readonly query: KyselyTransaction<Tables>;
}

/**
 * What a transaction does last, once for everything that was left to it. Where transactions share a commit, they share
 * this too. Locks that everybody needs are taken here, to be held for a short time.
 */
export type Conclusion<T> = (tx: EndingTransaction, items: readonly T[]) => Promise<void>;

/** What work in a transaction gives, and what it left to be done at the end. */
export interface Concluding<T> {
  readonly value: T;
  readonly conclusions: Conclusions;
}

/** What is to be done at the end of a transaction, in the order in which it was left. */
export class Conclusions {
  readonly #items = new Map<Conclusion<never>, unknown[]>();

  add<T>(conclusion: Conclusion<T>, item: T): void {
    const items = this.#items.get(conclusion);
    if (items === undefined) this.#items.set(conclusion, [item]);
    else items.push(item);
  }

  /** Takes over what others left. */
  join(others: Conclusions): void {
    for (const [conclusion, items] of others.#items)
      for (const item of items) this.add(conclusion as Conclusion<unknown>, item);
  }

  async draw(tx: EndingTransaction): Promise<void> {
    for (const [conclusion, items] of this.#items) await (conclusion as Conclusion<unknown>)(tx, items);
  }
}

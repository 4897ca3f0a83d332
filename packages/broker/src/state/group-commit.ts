import { type Kysely, type RawBuilder, sql, type Transaction } from 'kysely';
import { type Concluding, Conclusions } from './conclusions.js';
import type { Engine } from './engines.js';
import type { Tables } from './tables.js';

/** More would keep the first ones waiting for too long. */
const mostMembers = 64;

interface Member {
  /**
   * Does the work, and undoes it if it fails. @returns what it left to be done at the end
   * @throws what keeps the engine from either: then nothing is kept
   */
  perform(query: Transaction<Tables>): Promise<Conclusions | undefined>;
  /** Told that the commit is next. */
  ready(): Promise<void>;
  /** Told when the transaction is over, and why nothing of it was kept, if so. */
  end(failure: { readonly error: unknown } | undefined): void;
}

/**
 * Transactions that share a commit, for an engine that has one writer at a time. A commit waits for the disk, and those
 * that come meanwhile wait for it together: they run one after the other, each behind a savepoint, and become durable at
 * once. One that fails takes none of the others along.
 */
export class GroupCommit {
  readonly #query: Kysely<Tables>;
  readonly #engine: Engine;
  readonly #waiting: Member[] = [];
  #isRunning = false;

  constructor(query: Kysely<Tables>, engine: Engine) {
    this.#query = query;
    this.#engine = engine;
  }

  /**
   * Resolves when what the work did is durable; rejects, once the transaction is over, when none of it happened.
   * @param ready called before the commit, unless the work has failed
   */
  run<T>(
    work: (query: Transaction<Tables>) => Promise<Concluding<T>>,
    ready: () => Promise<void>,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      let done: Concluding<T> | undefined;
      let failed: { readonly error: unknown } | undefined;
      this.#waiting.push({
        async perform(query) {
          await savepoint(query, sql`savepoint member`);
          try {
            done = await work(query);
          } catch (error) {
            failed = { error };
            await savepoint(query, sql`rollback to member`);
          }
          await savepoint(query, sql`release member`);
          return done?.conclusions;
        },
        async ready() {
          if (done !== undefined) await ready();
        },
        end(failure) {
          const reason = failed ?? failure;
          if (reason !== undefined || done === undefined) reject(reason?.error);
          else resolve(done.value);
        },
      });
      if (!this.#isRunning) void this.#groups();
    });
  }

  async #groups(): Promise<void> {
    this.#isRunning = true;
    while (this.#waiting.length > 0) await this.#group();
    this.#isRunning = false;
  }

  async #group(): Promise<void> {
    const members: Member[] = [];
    let failure: { readonly error: unknown } | undefined;
    try {
      await this.#query.transaction().execute(async (query) => {
        const conclusions = new Conclusions();
        do {
          const next = this.#waiting.splice(0, mostMembers - members.length);
          members.push(...next);
          for (const member of next) {
            const left = await member.perform(query);
            if (left !== undefined) conclusions.join(left);
          }
          // Requests that have arrived already get as far as here.
          await new Promise((resolve) => setImmediate(resolve));
        } while (this.#waiting.length > 0 && members.length < mostMembers);
        await conclusions.draw({ engine: this.#engine, query });
        for (const member of members) await member.ready();
      });
    } catch (error) {
      failure = { error };
      // It did not even begin: whoever waits for it waited for nothing.
      if (members.length === 0) members.push(...this.#waiting.splice(0));
    }
    for (const member of members) member.end(failure);
  }
}

/** Without plugins: fault points follow the statements of the work, and these belong to nobody's. */
async function savepoint(query: Transaction<Tables>, statement: RawBuilder<unknown>): Promise<void> {
  await statement.execute(query.withoutPlugins());
}

import { UnavailableError, VouchsafeError } from '@vouchsafe/sev';
import { Kysely, type Transaction as KyselyTransaction, Migrator, sql } from 'kysely';
import { type Concluding, type Conclusion, Conclusions } from './conclusions.js';
import { driverCode, type Engine, openEngine } from './engines.js';
import { GroupCommit } from './group-commit.js';
import { migrationsFor } from './migrations.js';
import { NormalisedRows } from './rows.js';
import { isBusy } from './sqlite.js';
import type { Tables } from './tables.js';

/** Awaited between the statements of a transaction; tests end the broker there. */
export type FaultPoint = (name: string) => Promise<void> | void;

export interface OpenDatabaseOptions {
  readonly faultPoint?: FaultPoint;
}

/** An open database whose schema is up to date. */
export interface Database {
  readonly engine: Engine;
  /** For messages; no password in it. */
  readonly name: string;
  /** For single statements; whatever belongs together goes through {@link inTransaction}. */
  readonly query: Kysely<Tables>;
  /** Its reading transactions do not hold up writing; see {@link inSnapshot}. */
  readonly reader: Kysely<Tables>;
  /** For single reading statements, which see what is durable and wait for nobody who is writing. */
  readonly lookups: Kysely<Tables>;
  readonly faultPoint: FaultPoint;
  /** Runs work in a transaction of the engine, alone or with others that share its commit. */
  readonly transact: Transact;
  close(): Promise<void>;
}

/** Where single statements can be sent to: a database or a transaction. */
export interface Queries {
  readonly query: Kysely<Tables>;
}

export interface Transaction extends Queries {
  readonly engine: Engine;
  readonly query: KyselyTransaction<Tables>;
  /** Leaves something to be done at the end, in the transaction. */
  conclude<T>(conclusion: Conclusion<T>, item: T): void;
  /** Runs once the transaction is durable; not at all if it fails. */
  afterCommit(work: () => Promise<void> | void): void;
  /** Runs once the transaction is over and was not kept, before it is tried again: for what must not stay in memory. */
  ifUndone(work: () => void): void;
}

/** Runs work in a transaction of the engine. @param ready called before the commit, when everything else has been done */
type Transact = <T>(
  work: (query: KyselyTransaction<Tables>) => Promise<Concluding<T>>,
  ready: () => Promise<void>,
) => Promise<T>;

/**
 * Opens the database and brings its schema up to date; replicas may do so at the same time.
 * @param url `sqlite:PATH` for a file, which is made if it is missing, or `postgres://…`
 * @throws InvalidArgumentError for an address that names no engine
 * @throws UnavailableError when it cannot be reached or read, or a newer version has made it
 */
export async function openDatabase(url: string, options: OpenDatabaseOptions = {}): Promise<Database> {
  const { faultPoint = () => undefined } = options;
  const { engine, name, dialect, reader: readerDialect } = openEngine(url);
  const query = new Kysely<Tables>({ dialect, plugins: [new NormalisedRows(faultPoint)] });
  const reader = new Kysely<Tables>({ dialect: readerDialect(), plugins: [new NormalisedRows()] });
  const isSqlite = engine === 'sqlite';
  const lookups = isSqlite
    ? new Kysely<Tables>({ dialect: readerDialect(), plugins: [new NormalisedRows(faultPoint)] })
    : query;
  const close = async () => {
    await Promise.all([query.destroy(), reader.destroy(), ...(isSqlite ? [lookups.destroy()] : [])]);
  };
  try {
    await migrate(query, engine, name);
  } catch (error) {
    await close();
    throw asUnavailable(error, name);
  }
  const groups = new GroupCommit(query, engine);
  const transact: Transact = (work, ready) =>
    isSqlite ? groups.run(work, ready) : alone({ query, engine }, work, ready);
  return { engine, name, query, reader, lookups, faultPoint, transact, close };
}

/** A transaction that shares its commit with nobody. */
async function alone<T>(
  { query, engine }: Pick<Database, 'query' | 'engine'>,
  work: (query: KyselyTransaction<Tables>) => Promise<Concluding<T>>,
  ready: () => Promise<void>,
): Promise<T> {
  return query.transaction().execute(async (tx) => {
    const { value, conclusions } = await work(tx);
    await conclusions.draw({ engine, query: tx });
    await ready();
    return value;
  });
}

async function migrate(query: Kysely<Tables>, engine: Engine, name: string): Promise<void> {
  const migrations = migrationsFor(engine);
  // Without a plugin, so that fault points are those of the broker's work.
  const db = query.withoutPlugins();
  if (await isUpToDate(db, Object.keys(migrations))) return;
  const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } });
  for (let attempt = 1; ; attempt++) {
    const { error } = await migrator.migrateToLatest();
    if (error === undefined) return;
    if (error instanceof Error && error.message.startsWith('corrupted migrations')) {
      throw new UnavailableError(name, 'a newer version of the broker has changed its schema', {
        hint: 'run that version; an older one would not know what it does',
        cause: error,
      });
    }
    if (attempt >= 20 || !isBusy(error)) throw error;
    await pause(attempt);
  }
}

/** Most databases are, and asking takes one statement where the migrator takes many. */
async function isUpToDate(db: Kysely<Tables>, names: readonly string[]): Promise<boolean> {
  try {
    const { rows } = await sql<{ name: string }>`select name from kysely_migration`.execute(db);
    return rows.length === names.length && rows.every(({ name }) => names.includes(name));
  } catch {
    // Not made yet, or out of reach: the migrator finds out which.
    return false;
  }
}

/** The same transaction is tried so often when another got in its way. */
const attempts = 8;

/**
 * Runs work in one transaction: all of it is durable when this resolves, or none of it happened. It runs again from the
 * start when the engine gave way to another transaction, so it must change nothing but the database.
 * @throws UnavailableError when the database fails
 */
export async function inTransaction<T>(db: Database, work: (tx: Transaction) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const conclusions = new Conclusions();
    const after: (() => Promise<void> | void)[] = [];
    const undone: (() => void)[] = [];
    let isFinished = false;
    let failure: unknown;
    let result: T;
    try {
      result = await db.transact(
        async (query) => {
          try {
            await db.faultPoint('begun');
            const value = await work({
              engine: db.engine,
              query,
              conclude: (conclusion, item) => conclusions.add(conclusion, item),
              afterCommit: (each) => after.push(each),
              ifUndone: (each) => undone.push(each),
            });
            return { value, conclusions };
          } catch (error) {
            failure = error;
            throw error;
          }
        },
        async () => {
          await db.faultPoint('ready');
          isFinished = true;
        },
      );
    } catch (error) {
      for (const each of undone) each();
      // Rolling back may fail too, over a connection that is gone; why it was done says more.
      const cause = failure ?? error;
      if (attempt >= attempts || !mayRepeat(cause, isFinished)) throw asUnavailable(cause, db.name);
      await pause(attempt);
      continue;
    }
    await db.faultPoint('committed');
    for (const each of after) await each();
    return result;
  }
}

/** Runs reading work on one unchanging state of the database, beside whatever is being written. */
export async function inSnapshot<T>(
  db: Database,
  work: (query: KyselyTransaction<Tables>) => Promise<T>,
): Promise<T> {
  try {
    const snapshot = db.reader.transaction().setAccessMode('read only');
    return await snapshot.setIsolationLevel('repeatable read').execute(work);
  } catch (error) {
    throw asUnavailable(error, db.name);
  }
}

/**
 * Locks the rows that a query selects until the transaction ends. SQLite has one writer at a time, which a transaction
 * is from its beginning: nothing is left to lock.
 */
export function locked<Q extends { forUpdate(): Q }>(tx: Pick<Transaction, 'engine'>, query: Q): Q {
  return tx.engine === 'postgres' ? query.forUpdate() : query;
}

/** Milliseconds since 1970 as the database writes times. */
export function isoTime(time: number): string {
  return new Date(time).toISOString();
}

const serializationFailures = new Set(['40001', '40P01']);
const lostConnection = /^(?:08...|57P0[1-4])$/;

/** A transaction that the engine rolled back may be tried again; one whose commit got no answer may have happened. */
function mayRepeat(error: unknown, isFinished: boolean): boolean {
  const code = driverCode(error);
  if (code !== undefined && serializationFailures.has(code)) return true;
  return !isFinished && (isConnectionEnd(error) || (code !== undefined && lostConnection.test(code)));
}

/** In the words of the driver, or of the system below it. */
function isConnectionEnd(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (/^Connection terminated|is not queryable$/.test(error.message)) return true;
  return 'code' in error && systemEnds.has(String(error.code));
}

const systemEnds = new Set(['ECONNRESET', 'EPIPE']);

function asUnavailable(error: unknown, name: string): unknown {
  if (error instanceof VouchsafeError || !(error instanceof Error)) return error;
  const code = driverCode(error) ?? ('code' in error ? String(error.code) : undefined);
  if (code === undefined && !isConnectionEnd(error)) return error;
  const damaged = code === 'SQLITE_CORRUPT' || code === 'SQLITE_NOTADB';
  return new UnavailableError(name, error.message || code || 'it failed', {
    cause: error,
    hint: damaged
      ? 'the file is damaged: restore a copy, and let `vouchsafe broker audit verify` say what is missing'
      : undefined,
  });
}

const pause = (attempt: number) => new Promise((resolve) => setTimeout(resolve, attempt * 5));

import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { InvalidArgumentError, UnavailableError } from '@vouchsafe/sev';
import { type Dialect, PostgresDialect, type SqliteDatabase } from 'kysely';
import Libsql from 'libsql';
import pg from 'pg';
import { ImmediateSqliteDialect, waitingForOthers } from './sqlite.js';

/** Which database drivers there are: the one file that knows them. */

export type Engine = 'sqlite' | 'postgres';

export interface OpenedEngine {
  readonly engine: Engine;
  /** For messages: no password in it. */
  readonly name: string;
  readonly dialect: Dialect;
  /** A dialect of its own, whose reading transactions do not hold up the other's writing. */
  readonly reader: () => Dialect;
}

/**
 * @param url `sqlite:PATH`, `postgres://…` or `postgresql://…`
 * @throws InvalidArgumentError for anything else
 */
export function openEngine(url: string): OpenedEngine {
  if (/^postgres(?:ql)?:\/\//.test(url)) return postgres(url);
  const path = /^sqlite:(.+)$/s.exec(url)?.[1];
  if (path === undefined) {
    throw new InvalidArgumentError(
      'database',
      `cannot tell an engine from ${JSON.stringify(withoutPassword(url))}`,
      {
        hint: '`sqlite:PATH` for a file, `postgres://USER@HOST/NAME` for PostgreSQL',
      },
    );
  }
  const dialect = (pragmas: string[] = []) =>
    new ImmediateSqliteDialect({ database: () => openLibsql(path, pragmas) });
  const reader = () => dialect(['query_only=ON']);
  return { engine: 'sqlite', name: `sqlite:${path}`, dialect: dialect(), reader };
}

const pragmas = ['journal_mode=WAL', 'synchronous=FULL', 'foreign_keys=ON', 'busy_timeout=2'];

/** WAL with `synchronous=FULL`: what was committed survives a power cut. */
async function openLibsql(path: string, more: readonly string[]): Promise<SqliteDatabase> {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    // The driver would make it readable for everyone; the -wal and -shm files take this one's mode.
    closeSync(openSync(path, 'a', 0o600));
    // Its time-out is short, because it stops the whole process; others are waited for without that.
    const database = new Libsql(path, { timeout: 2 });
    try {
      for (const pragma of [...pragmas, ...more])
        await waitingForOthers(() => database.exec(`pragma ${pragma}`));
    } catch (error) {
      database.close();
      throw error;
    }
    return { prepare: remembering((sql) => database.prepare(sql)), close: () => closeLibsql(database) };
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new UnavailableError(`sqlite:${path}`, message, { cause });
  }
}

/** The driver lets go of the files only when its statements are collected, so what is in the log is moved before. */
function closeLibsql(database: Libsql.Database): void {
  try {
    database.exec('pragma wal_checkpoint(TRUNCATE)');
  } catch {
    // Another process is using it, and will do so.
  }
  database.close();
}

type Prepare = SqliteDatabase['prepare'];

/** Preparing costs more than running; the statements of the broker are few. */
function remembering(prepare: (sql: string) => ReturnType<Libsql.Database['prepare']>): Prepare {
  const statements = new Map<string, ReturnType<Prepare>>();
  return (sql) => {
    const known = statements.get(sql);
    if (known !== undefined) return known;
    if (statements.size >= 256) statements.clear();
    const statement = prepare(sql);
    const prepared: ReturnType<Prepare> = {
      reader: statement.reader,
      all: (parameters) => statement.all([...parameters]),
      run: (parameters) => statement.run([...parameters]),
      iterate: (parameters) => statement.iterate([...parameters]),
    };
    statements.set(sql, prepared);
    return prepared;
  };
}

const int8 = 20;

function postgres(url: string): OpenedEngine {
  const open = (max: number) => {
    const pool = new pg.Pool({
      connectionString: url,
      max,
      application_name: 'vouchsafe broker',
      connectionTimeoutMillis: 10_000,
      statement_timeout: 60_000,
      lock_timeout: 10_000,
      idle_in_transaction_session_timeout: 30_000,
      // A release must be on disk before its answer leaves, whatever the server's default is.
      options: '-c synchronous_commit=on',
      types: {
        getTypeParser: (oid: number, format?: 'text' | 'binary') =>
          oid === int8 ? wholeNumber : pg.types.getTypeParser(oid, format as 'text'),
      },
    });
    // A connection that dies while nothing is asked of it, in a transaction or out of one, fails at its next use and is
    // replaced; without listeners it would end the process.
    pool.on('error', () => undefined);
    pool.on('connect', (client) => client.on('error', () => undefined));
    return new PostgresDialect({ pool });
  };
  return { engine: 'postgres', name: withoutPassword(url), dialect: open(8), reader: () => open(1) };
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new UnavailableError('database', `${text} is too large a counter`);
  return value;
}

/** The address without what follows `//` up to the host, and without parameters. */
function withoutPassword(url: string): string {
  return url.replace(/\/\/.*@/s, '//').replace(/\?.*$/s, '');
}

/** A driver's error in the driver's words: SQLite names conditions (`SQLITE_BUSY`), PostgreSQL has SQLSTATEs. */
export function driverCode(error: unknown): string | undefined {
  if (error instanceof Libsql.SqliteError || error instanceof pg.DatabaseError) return error.code;
  return undefined;
}

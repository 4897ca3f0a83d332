import { copyFileSync, existsSync } from 'node:fs';
import { sql } from 'kysely';
import type { Database, FaultPoint } from '../database.js';

/** What a broker meets at the fault point where it is ended. */
export class Killed extends Error {}

let copies = 0;

/** What SIGKILL leaves: the files as they are, or a server that has lost its clients. @returns where to go on */
export async function crash(url: string, witness: Database): Promise<string> {
  if (witness.engine === 'postgres') {
    await sql`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid()`.execute(witness.query);
    return url;
  }
  return copyOfFiles(url);
}

/** A copy of a SQLite database with what is in its log. */
export function copyOfFiles(url: string): string {
  const file = url.slice('sqlite:'.length);
  const copy = `${file}.left${++copies}`;
  for (const suffix of ['', '-wal']) {
    if (existsSync(file + suffix)) copyFileSync(file + suffix, copy + suffix);
  }
  return `sqlite:${copy}`;
}

/** Ends a broker at one of its fault points. */
export class Executioner {
  #left: string | undefined;
  #points = Number.POSITIVE_INFINITY;
  readonly #url: string;
  readonly #witness: Database;

  /** @param witness a connection of its own to the same database */
  constructor(url: string, witness: Database) {
    this.#url = url;
    this.#witness = witness;
  }

  /** Where the database is afterwards; undefined while the broker lives. */
  get left(): string | undefined {
    return this.#left;
  }

  /** The nth fault point from now on is the last. */
  killAt(n: number): void {
    this.#points = n;
  }

  /** Nobody is killed any more who lives still. */
  spare(): void {
    this.#points = Number.POSITIVE_INFINITY;
  }

  readonly faultPoint: FaultPoint = async () => {
    if (this.#left === undefined && --this.#points > 0) return;
    // The dead do nothing any more.
    this.#left ??= await crash(this.#url, this.#witness);
    throw new Killed('killed');
  };
}

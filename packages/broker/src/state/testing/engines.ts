import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe } from 'vitest';
import { type PostgresCluster, postgresPrograms, startPostgres } from './postgres.js';

/** Gives the address of a new, empty database. */
export type NewDatabase = () => string;

/** The same tests on every engine; those of PostgreSQL skip where the Debian package `postgresql` is missing. */
export function onEveryEngine(title: string, tests: (newDatabase: NewDatabase) => void): void {
  describe(`${title}, SQLite`, () => {
    let folder: string;
    let databases = 0;
    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), 'vouchsafe-sqlite-'));
    });
    afterAll(() => rmSync(folder, { recursive: true, force: true }));
    tests(() => `sqlite:${join(folder, `broker${++databases}.db`)}`);
  });

  describe.skipIf(postgresPrograms() === undefined)(`${title}, PostgreSQL (package postgresql)`, () => {
    let cluster: PostgresCluster | undefined;
    beforeAll(async () => {
      cluster = await startPostgres();
    });
    afterAll(() => cluster?.stop());
    tests(() => cluster!.createDatabase());
  });
}

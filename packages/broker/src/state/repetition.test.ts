import { UnavailableError } from '@vouchsafe/sev';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { type Database, inTransaction, locked, openDatabase, type Transaction } from './database.js';
import { type PostgresCluster, postgresPrograms, startPostgres } from './testing/postgres.js';

describe.skipIf(postgresPrograms() === undefined)('transactions on PostgreSQL (package postgresql)', () => {
  let cluster: PostgresCluster;
  beforeAll(async () => {
    cluster = await startPostgres();
  });
  afterAll(() => cluster.stop());

  async function opened(faultPoint?: (name: string) => Promise<void> | void): Promise<[Database, Database]> {
    const url = cluster.createDatabase();
    const databases: [Database, Database] = [
      await openDatabase(url, faultPoint === undefined ? {} : { faultPoint }),
      await openDatabase(url),
    ];
    onTestFinished(async () => {
      for (const each of databases) await each.close();
    });
    for (const name of ['a', 'b'])
      await databases[1].query.insertInto('broker_state').values({ name, value: '' }).execute();
    return databases;
  }

  const append = async (tx: Transaction, name: string, text: string) => {
    const row = tx.query.selectFrom('broker_state').select('value').where('name', '=', name);
    const { value } = await locked(tx, row).executeTakeFirstOrThrow();
    await tx.query
      .updateTable('broker_state')
      .set({ value: value + text })
      .where('name', '=', name)
      .execute();
  };
  const values = async ({ query }: Database) =>
    (await query.selectFrom('broker_state').select('value').orderBy('name').execute()).map(
      ({ value }) => value,
    );
  const endOthers = ({ query }: Database) =>
    sql`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid()`.execute(query);

  it('that wait for each other are both done: one of them twice', async () => {
    const [db] = await opened();
    let attempts = 0;
    let arrived = 0;
    let meet: () => void;
    const met = new Promise<void>((resolve) => {
      meet = resolve;
    });
    const crossing = (first: string, second: string, text: string) =>
      inTransaction(db, async (tx) => {
        attempts++;
        await append(tx, first, text);
        if (++arrived === 2) meet();
        await met;
        await append(tx, second, text);
      });
    await Promise.all([crossing('a', 'b', 'x'), crossing('b', 'a', 'y')]);
    expect(attempts).toBe(3);
    expect((await values(db)).map((value) => [...value].sort().join(''))).toEqual(['xy', 'xy']);
  });

  it('whose connection is lost before the commit are done again', async () => {
    const [db, other] = await opened();
    let attempts = 0;
    await inTransaction(db, async (tx) => {
      await append(tx, 'a', 'x');
      if (++attempts === 1) await endOthers(other);
      await append(tx, 'b', 'x');
    });
    expect(attempts).toBe(2);
    expect(await values(other)).toEqual(['x', 'x']);
  });

  it('whose connection is lost at the commit may have happened: nobody does them again', async () => {
    let kill: (() => Promise<unknown>) | undefined;
    const [db, other] = await opened(async (name) => {
      if (name === 'ready') await kill?.();
    });
    let attempts = 0;
    kill = async () => {
      kill = undefined;
      await endOthers(other);
    };
    const lost = inTransaction(db, async (tx) => {
      attempts++;
      tx.conclude(() => append(tx, 'a', 'x'), undefined);
    });
    await expect(lost).rejects.toThrow(UnavailableError);
    expect(attempts).toBe(1);
    expect(await values(other)).toEqual(['', '']);
  });

  it('are not done again for errors of their own, or of the database', async () => {
    const [db] = await opened();
    let attempts = 0;
    const failing = inTransaction(db, async (tx) => {
      attempts++;
      await tx.query.insertInto('broker_state').values({ name: 'a', value: '' }).execute();
    });
    await expect(failing).rejects.toThrow(UnavailableError);
    expect(attempts).toBe(1);
  });
});

import { UnavailableError } from '@vouchsafe/sev';
import { sql } from 'kysely';
import { expect, it, onTestFinished } from 'vitest';
import { type Database, inSnapshot, inTransaction, openDatabase } from './database.js';
import { onEveryEngine } from './testing/engines.js';

async function open(url: string, faultPoint?: () => Promise<void> | void): Promise<Database> {
  const db = await openDatabase(url, faultPoint === undefined ? {} : { faultPoint });
  onTestFinished(() => db.close());
  return db;
}

onEveryEngine('a database', (newDatabase) => {
  it('is made by several replicas at once, and opened again as it was', async () => {
    const url = newDatabase();
    const [one, two] = await Promise.all([open(url), open(url), open(url)]);
    await one.query.insertInto('broker_state').values({ name: 'a', value: '1' }).execute();
    expect(await two.query.selectFrom('broker_state').selectAll().execute()).toEqual([
      { name: 'a', value: '1' },
    ]);
    const three = await open(url);
    expect(await three.query.selectFrom('broker_state').selectAll().execute()).toHaveLength(1);
  });

  it('gives bytes as bytes and large counters as numbers', async () => {
    const db = await open(newDatabase());
    const row = {
      id: 'r',
      sequence: 2 ** 53 - 1,
      hash: Uint8Array.of(1, 2),
      seen_at: '',
      mac: new Uint8Array(),
    };
    await db.query.insertInto('replicas').values(row).execute();
    const [read] = await db.query.selectFrom('replicas').selectAll().execute();
    expect(read).toEqual(row);
    expect(Object.getPrototypeOf(read!.hash)).toBe(Uint8Array.prototype);
  });

  it('does all of a transaction or nothing', async () => {
    const db = await open(newDatabase());
    const done: string[] = [];
    const work = inTransaction(db, async (tx) => {
      await tx.query.insertInto('broker_state').values({ name: 'a', value: '1' }).execute();
      tx.conclude(async ({ query }) => {
        await query.insertInto('broker_state').values({ name: 'b', value: '2' }).execute();
        throw new RangeError('stop');
      }, undefined);
      tx.afterCommit(() => void done.push('committed'));
    });
    await expect(work).rejects.toThrow(new RangeError('stop'));
    expect(await db.query.selectFrom('broker_state').selectAll().execute()).toEqual([]);
    expect(done).toEqual([]);
  });

  it('what a transaction brought into memory can be put away if it is not kept', async () => {
    const db = await open(newDatabase());
    const put: string[] = [];
    const kept = inTransaction(db, async (tx) => {
      tx.ifUndone(() => put.push('of the one that is kept'));
    });
    await kept;
    const failed = inTransaction(db, async (tx) => {
      tx.ifUndone(() => put.push('first'));
      tx.ifUndone(() => put.push('second'));
      throw new RangeError('stop');
    });
    await expect(failed).rejects.toThrow('stop');
    expect(put).toEqual(['first', 'second']);
  });

  it('transactions of two replicas that read and then write wait for each other', async () => {
    const url = newDatabase();
    const replicas = await Promise.all([open(url), open(url)]);
    await replicas[0]!.query.insertInto('broker_state').values({ name: 'n', value: '0' }).execute();
    const increment = (db: Database) =>
      inTransaction(db, async (tx) => {
        const rows = tx.query.selectFrom('broker_state').select('value').where('name', '=', 'n');
        const { value } = await (tx.engine === 'postgres'
          ? rows.forUpdate()
          : rows
        ).executeTakeFirstOrThrow();
        await tx.query
          .updateTable('broker_state')
          .set({ value: String(Number(value) + 1) })
          .execute();
      });
    await Promise.all(Array.from({ length: 20 }, (_, i) => increment(replicas[i % 2]!)));
    const { value } = await replicas[0]!.query
      .selectFrom('broker_state')
      .select('value')
      .executeTakeFirstOrThrow();
    expect(value).toBe('20');
  });

  it('a snapshot does not change, and holds nobody up', async () => {
    const db = await open(newDatabase());
    const count = async (query: Database['query']) =>
      (await query.selectFrom('broker_state').selectAll().execute()).length;
    await inSnapshot(db, async (query) => {
      expect(await count(query)).toBe(0);
      await db.query.insertInto('broker_state').values({ name: 'a', value: '1' }).execute();
      expect(await count(query)).toBe(0);
    });
    expect(await inSnapshot(db, count)).toBe(1);
    const write = inSnapshot(db, (query) =>
      query.insertInto('broker_state').values({ name: 'b', value: '1' }).execute(),
    );
    await expect(write).rejects.toThrow(UnavailableError);
  });

  it('each statement of a transaction is followed by a fault point', async () => {
    const names: string[] = [];
    const db = await openDatabase(newDatabase(), { faultPoint: (name) => void names.push(name) });
    onTestFinished(() => db.close());
    expect(names).toEqual([]);
    await inTransaction(db, async (tx) => {
      await tx.query.selectFrom('broker_state').selectAll().execute();
      await tx.query.insertInto('broker_state').values({ name: 'a', value: '1' }).execute();
    });
    expect(names).toEqual(['begun', 'statement', 'statement', 'ready', 'committed']);
  });

  it('refuses what a newer version has made', async () => {
    const url = newDatabase();
    const db = await open(url);
    await sql`insert into kysely_migration (name, timestamp) values ('9999-later', '2030-01-01T00:00:00.000Z')`.execute(
      db.query,
    );
    await expect(openDatabase(url)).rejects.toThrow(/newer version of the broker/);
  });
});

import { expect, it } from 'vitest';
import type { Conclusion } from './conclusions.js';
import { inTransaction, openDatabase } from './database.js';
import { onEveryEngine } from './testing/engines.js';

onEveryEngine('transactions at one time', (newDatabase) => {
  const add = (name: string) => ({ name, value: 'there' });

  it('are all kept but those that fail, which take nobody along', async () => {
    const db = await openDatabase(newDatabase());
    const outcomes = await Promise.allSettled(
      Array.from({ length: 100 }, (_, i) =>
        inTransaction(db, async (tx) => {
          await tx.query
            .insertInto('broker_state')
            .values(add(`row ${i}`))
            .execute();
          if (i % 3 === 0) throw new Error(`number ${i}`);
          // The key is taken: the engine fails the statement, and the work does not mind.
          if (i % 3 === 1)
            await tx.query
              .insertInto('broker_state')
              .values(add(`row ${i}`))
              .execute();
          return i;
        }),
      ),
    );
    const kept = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    expect(kept).toEqual(Array.from({ length: 100 }, (_, i) => i).filter((i) => i % 3 === 2));
    expect(outcomes[3]).toMatchObject({ reason: { message: 'number 3' } });
    const rows = await db.lookups.selectFrom('broker_state').select('name').execute();
    const names = rows.map(({ name }) => name).filter((name) => name.startsWith('row '));
    expect(names.sort()).toEqual(kept.map((i) => `row ${i}`).sort());
    await db.close();
  });

  it('are durable when they resolve', async () => {
    const url = newDatabase();
    const [db, other] = [await openDatabase(url), await openDatabase(url)];
    await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        await inTransaction(db, (tx) =>
          tx.query
            .insertInto('broker_state')
            .values(add(`row ${i}`))
            .execute(),
        );
        const seen = other.lookups.selectFrom('broker_state').select('name').where('name', '=', `row ${i}`);
        expect(await seen.execute()).toHaveLength(1);
      }),
    );
    await db.close();
    await other.close();
  });

  it('leave what is done at the end, once for those that share a commit, nothing for those that fail', async () => {
    const db = await openDatabase(newDatabase());
    const calls: (readonly number[])[] = [];
    const conclusion: Conclusion<number> = async (tx, items) => {
      calls.push(items);
      const rows = items.map((i) => add(`last of ${i}`));
      await tx.query.insertInto('broker_state').values(rows).execute();
    };
    const work = Array.from({ length: 30 }, (_, i) =>
      inTransaction(db, async (tx) => {
        tx.conclude(conclusion, i);
        await tx.query
          .insertInto('broker_state')
          .values(add(`row ${i}`))
          .execute();
        if (i % 3 === 0) throw new Error(`number ${i}`);
      }),
    );
    await Promise.allSettled(work);
    const kept = Array.from({ length: 30 }, (_, i) => i).filter((i) => i % 3 !== 0);
    expect(calls.flat().toSorted((a, b) => a - b)).toEqual(kept);
    const rows = await db.lookups.selectFrom('broker_state').select('name').execute();
    const names = rows.map(({ name }) => name).filter((name) => name.startsWith('last of '));
    expect(names.toSorted()).toEqual(kept.map((i) => `last of ${i}`).toSorted());
    if (db.engine === 'sqlite') expect(calls.length).toBeLessThan(kept.length / 2);
    await db.close();
  });

  it('are undone together when what is done at the end fails', async () => {
    const db = await openDatabase(newDatabase());
    const conclusion: Conclusion<number> = async (_tx, items) => {
      if (items.includes(1)) throw new RangeError('the end');
    };
    const work = (i: number) =>
      inTransaction(db, async (tx) => {
        tx.conclude(conclusion, i);
        await tx.query
          .insertInto('broker_state')
          .values(add(`row ${i}`))
          .execute();
      });
    const outcomes = await Promise.allSettled([1, 2].map(work));
    expect(outcomes[0]).toMatchObject({ reason: { message: 'the end' } });
    const kept = outcomes.filter(({ status }) => status === 'fulfilled').length;
    const rows = await db.lookups.selectFrom('broker_state').select('name').execute();
    expect(rows.filter(({ name }) => name.startsWith('row '))).toHaveLength(kept);
    await work(3);
    await db.close();
  });

  it('see nothing of one that failed before', async () => {
    const db = await openDatabase(newDatabase());
    const failing = inTransaction(db, async (tx) => {
      await tx.query.insertInto('broker_state').values(add('failed')).execute();
      throw new Error('failed');
    });
    const looking = inTransaction(db, (tx) =>
      tx.query.selectFrom('broker_state').select('name').where('name', '=', 'failed').execute(),
    );
    await expect(failing).rejects.toThrow('failed');
    expect(await looking).toEqual([]);
    await db.close();
  });
});

import { verdict } from '@vouchsafe/sev';
import { expect, it } from 'vitest';
import { newestEntries } from '../record/read.js';
import { verifyRecord } from '../record/verify.js';
import { inTransaction, openDatabase } from './database.js';
import type { BrokerState } from './open.js';
import { Executioner } from './testing/crash.js';
import { copyOf } from './testing/dump.js';
import { onEveryEngine } from './testing/engines.js';
import { openState, release, secretOf } from './testing/state.js';

const path = 'default/key/disk';

interface Outcome {
  /** Whether the work got as far as to kill nobody. */
  readonly isOver: boolean;
  readonly state: BrokerState;
}

onEveryEngine('a broker that is killed between two statements', (newDatabase) => {
  /** A database with a one-time secret, and how to have it again as it was. */
  async function prepared(): Promise<{ url: string; restore: () => Promise<void> }> {
    const url = newDatabase();
    const state = await openState(url);
    await inTransaction(state.db, (tx) =>
      state.resources.put(tx, path, { secret: secretOf('v1'), releaseLimit: 1 }, 'alice'),
    );
    await state.close();
    const db = await openDatabase(url);
    const restore = await copyOf(db);
    await db.close();
    return {
      url,
      async restore() {
        const again = await openDatabase(url);
        await restore(again);
        await again.close();
      },
    };
  }

  /** Does work in a broker that is killed at fault point n, and opens what it left behind. */
  async function killedAt(
    n: number,
    url: string,
    work: (state: BrokerState) => Promise<unknown>,
  ): Promise<Outcome> {
    const witness = await openDatabase(url);
    const executioner = new Executioner(url, witness);
    const state = await openState(url, { faultPoint: executioner.faultPoint });
    executioner.killAt(n);
    const error: unknown = await work(state).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    const isOver = executioner.left === undefined;
    if (isOver) expect(error).toBeUndefined();
    else expect(error).toBeDefined();
    executioner.spare();
    await witness.close();
    // What the broker does while it dies cannot reach the files that were copied, and its connections are gone.
    await state.close().catch(() => undefined);
    return { isOver, state: await openState(executioner.left ?? url, { replica: 'two' }) };
  }

  it('has released or has not, and the record agrees', async () => {
    const { url, restore } = await prepared();
    const seen: string[] = [];
    for (let n = 1; ; n++) {
      if (n > 1) await restore();
      const { isOver, state } = await killedAt(n, url, (broker) => release(broker, path, ['k1', 's']));
      expect(verdict(await verifyRecord(state)).failed).toEqual([]);
      const releases = await newestEntries(state.db, state.keys, { kind: 'release' });
      const [version] = (await state.resources.describe(state.db, path))!.versions;
      expect(version!.released, `fault point ${n}`).toBe(releases.length);
      const answers = [
        await release(state, path, ['k2', 's2']),
        await release(state, path, ['k1', 's']),
        await release(state, path, ['k2', 's2']),
      ];
      seen.push(answers.join(', '));
      await state.close();
      if (isOver) break;
    }
    const notReleased = 'v1, used-up, again v1';
    const released = 'used-up, again v1, used-up';
    const first = seen.indexOf(released);
    expect(first).toBeGreaterThan(5);
    expect(seen.slice(0, first)).toEqual(seen.slice(0, first).map(() => notReleased));
    expect(seen.slice(first)).toEqual([released, released]);
  });

  it('has a version or has not, and the record agrees', async () => {
    const { url, restore } = await prepared();
    const versions = new Set<number>();
    for (let n = 1; ; n++) {
      if (n > 1) await restore();
      const { isOver, state } = await killedAt(n, url, (broker) =>
        inTransaction(broker.db, (tx) => broker.resources.put(tx, path, { secret: secretOf('v2') }, 'alice')),
      );
      expect(verdict(await verifyRecord(state)).failed, `fault point ${n}`).toEqual([]);
      versions.add((await state.resources.describe(state.db, path))!.versions.length);
      await state.close();
      if (isOver) break;
    }
    expect([...versions]).toEqual([1, 2]);
  });

  it('has a checkpoint or has not', async () => {
    const { url, restore } = await prepared();
    for (let n = 1; ; n++) {
      if (n > 1) await restore();
      const { isOver, state } = await killedAt(n, url, (broker) => broker.record.checkpoint());
      expect(verdict(await verifyRecord(state)).failed, `fault point ${n}`).toEqual([]);
      await state.close();
      if (isOver) break;
    }
  });
});

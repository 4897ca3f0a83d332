import { InvalidArgumentError, openSecret, type Secret } from '@vouchsafe/sev';
import { expect, it } from 'vitest';
import { inTransaction } from '../state/database.js';
import { onEveryEngine } from '../state/testing/engines.js';
import { openState, release, secretOf, testTime } from '../state/testing/state.js';
import type { NewVersion } from './resource-store.js';

const path = 'default/key/disk';
const day = 86_400_000;

onEveryEngine('the secrets', (newDatabase) => {
  async function store(limits: Omit<NewVersion, 'secret'>[], now = () => testTime) {
    const state = await openState(newDatabase(), { now });
    for (const [i, each] of limits.entries()) {
      await inTransaction(state.db, (tx) =>
        state.resources.put(tx, path, { secret: secretOf(`v${i + 1}`), ...each }, 'alice'),
      );
    }
    return state;
  }

  it('are given out in their newest version, to anyone who may, as often as wanted', async () => {
    const state = await store([{}, {}]);
    expect(await release(state, path, ['k1', 's1'])).toBe('v2');
    expect(await release(state, path, ['k2', 's2'])).toBe('v2');
    expect(await release(state, path, ['k1', 's1'])).toBe('v2');
    expect(await release(state, 'default/key/other', ['k1', 's1'])).toBe('absent');
  });

  it('a one-time secret goes to one key, and to that again within its session only', async () => {
    const state = await store([{ releaseLimit: 1 }]);
    const asked: [string, string][] = [
      ['k1', 's1'],
      ['k2', 's2'],
      ['k1', 's1'],
      ['k2', 's1'],
      ['k1', 's2'],
      ['k1', 's1'],
    ];
    const answers: string[] = [];
    for (const each of asked) answers.push(await release(state, path, each));
    expect(answers).toEqual(['v1', 'used-up', 'again v1', 'used-up', 'used-up', 'again v1']);
  });

  it('counted releases are counted by key and session', async () => {
    const state = await store([{ releaseLimit: 2 }]);
    const answers: string[] = [];
    for (const n of [1, 1, 2, 3, 2, 1]) answers.push(await release(state, path, [`k${n}`, 's']));
    expect(answers).toEqual(['v1', 'again v1', 'v1', 'used-up', 'again v1', 'again v1']);
    const [version] = (await state.resources.describe(state.db, path))!.versions;
    expect(version).toMatchObject({ releaseLimit: 2, released: 2 });
  });

  it('a lost answer is the same again, although there is a newer version by now', async () => {
    const state = await store([{ releaseLimit: 1 }]);
    await release(state, path, ['k1', 's1']);
    await inTransaction(state.db, (tx) =>
      state.resources.put(tx, path, { secret: secretOf('v2'), releaseLimit: 1 }, 'alice'),
    );
    expect(await release(state, path, ['k1', 's1'])).toBe('again v1');
    expect(await release(state, path, ['k2', 's2'])).toBe('v2');
    expect(await release(state, path, ['k3', 's3'])).toBe('used-up');
  });

  it('are given out while they are valid: a version that is to come waits for its day', async () => {
    let now = testTime;
    const state = await store(
      [{ notAfter: testTime + 2 * day }, { notBefore: testTime + day, notAfter: testTime + day }],
      () => now,
    );
    const answers: string[] = [];
    for (const offset of [0, day - 1, day, day + 1, 2 * day, 2 * day + 1]) {
      now = testTime + offset;
      answers.push(await release(state, path, ['k', 's']));
    }
    expect(answers).toEqual(['v1', 'v1', 'v2', 'v1', 'v1', 'expired']);
  });

  it('a version before its day is not there yet', async () => {
    const state = await store([{ notBefore: testTime + 1 }]);
    expect(await release(state, path, ['k', 's'])).toBe('not-yet-valid');
  });

  it('disabled and deleted: a version, then all', async () => {
    const state = await store([{}, {}]);
    const change = (work: (tx: Parameters<Parameters<typeof inTransaction>[1]>[0]) => Promise<unknown>) =>
      inTransaction(state.db, work);
    const { resources } = state;
    const ask = () => release(state, path, ['k', 's']);

    await change((tx) => resources.setState(tx, path, { state: 'disabled', version: 2 }, 'alice'));
    expect(await ask()).toBe('v1');
    await change((tx) => resources.setState(tx, path, { state: 'enabled', version: 2 }, 'alice'));
    expect(await ask()).toBe('v2');
    await change((tx) => resources.setState(tx, path, { state: 'disabled' }, 'alice'));
    expect(await ask()).toBe('disabled');
    await change((tx) => resources.setState(tx, path, { state: 'enabled' }, 'alice'));
    expect(await change((tx) => resources.delete(tx, path, { version: 2 }, 'alice'))).toBe(true);
    expect(await change((tx) => resources.delete(tx, path, { version: 2 }, 'alice'))).toBe(false);
    expect(
      await change((tx) => resources.setState(tx, path, { state: 'enabled', version: 2 }, 'alice')),
    ).toBe(false);
    expect(await ask()).toBe('v1');
    expect(await change((tx) => resources.delete(tx, path, {}, 'alice'))).toBe(true);
    expect(await ask()).toBe('deleted');
    expect(await change((tx) => resources.delete(tx, path, {}, 'alice'))).toBe(false);
    const rows = await state.db.query.selectFrom('resource_versions').selectAll().execute();
    expect(rows.map((row) => [row.wrapped_key, row.ciphertext])).toEqual([
      [null, null],
      [null, null],
    ]);

    const version = await change((tx) => resources.put(tx, path, { secret: secretOf('v3') }, 'alice'));
    expect(version).toBe(3);
    expect(await ask()).toBe('v3');
  });

  it('are listed without their content, by path', async () => {
    const state = await store([{ releaseLimit: 3, notAfter: testTime }]);
    const { resources, db } = state;
    await inTransaction(db, async (tx) => {
      await resources.put(tx, 'a/b/c', { secret: secretOf('x') }, 'alice');
      expect(await resources.setPolicy(tx, 'a/b/c', 'p1', 'alice')).toBe(true);
      expect(await resources.setPolicy(tx, 'a/b/d', 'p1', 'alice')).toBe(false);
    });
    const at = new Date(testTime).toISOString();
    const listed = await resources.list(db);
    expect(listed).toMatchObject([
      {
        path: 'a/b/c',
        policy: 'p1',
        state: 'enabled',
        versions: [{ version: 1, released: 0, createdAt: at }],
      },
      { path, versions: [{ version: 1, releaseLimit: 3, notAfter: at, state: 'enabled' }] },
    ]);
    expect(await resources.describe(db, 'a/b/c')).toEqual(listed[0]);
    expect(await resources.describe(db, 'a/b/d')).toBeUndefined();
  });

  it('are not left in memory by a release that is not kept', async () => {
    const { resources, db } = await store([{}]);
    let opened: Secret | undefined;
    const undone = inTransaction(db, async (tx) => {
      const fetched = await resources.fetchForRelease(tx, { path, guestKey: 'k', session: 's' });
      if (fetched.outcome === 'released') opened = fetched.secret;
      throw new RangeError('stop');
    });
    await expect(undone).rejects.toThrow('stop');
    expect(() => openSecret(opened!)).toThrow(/zeroed/);
  });

  it('count the machines that had them', async () => {
    const state = await store([{}]);
    const { resources, db } = state;
    const machine = (name: string) =>
      inTransaction(db, async (tx) => {
        const before = await resources.otherMachines(tx, path, name);
        const { outcome } = await resources.fetchForRelease(tx, {
          path,
          guestKey: 'k',
          session: 's',
          machine: name,
        });
        expect(outcome).toBe('released');
        return before;
      });
    expect(await machine('chip 1')).toBe(0);
    expect(await machine('chip 2')).toBe(1);
    expect(await machine('chip 1')).toBe(1);
    expect(await machine('chip 3')).toBe(2);
    expect(await inTransaction(db, (tx) => resources.otherMachines(tx, 'a/b/c', 'chip 1'))).toBe(0);
  });

  it.each<[Omit<NewVersion, 'secret'>, RegExp]>([
    [{ notBefore: 2, notAfter: 1 }, /ends before it begins/],
    [{ releaseLimit: 0 }, /whole number from 1/],
    [{ releaseLimit: 1.5 }, /whole number from 1/],
  ])('limits that make no sense are refused: %j', async (limits, message) => {
    const state = await store([]);
    const put = inTransaction(state.db, (tx) =>
      state.resources.put(tx, path, { secret: secretOf('x'), ...limits }, 'alice'),
    );
    await expect(put).rejects.toThrow(InvalidArgumentError);
    await expect(put).rejects.toThrow(message);
  });

  it('two replicas that release a one-time secret at the same instant: one key gets it', async () => {
    const url = newDatabase();
    const replicas = await Promise.all([openState(url), openState(url, { replica: 'two' })]);
    for (let round = 0; round < 5; round++) {
      const name = `${path}${round}`;
      await inTransaction(replicas[0]!.db, (tx) =>
        replicas[0]!.resources.put(tx, name, { secret: secretOf('once'), releaseLimit: 1 }, 'alice'),
      );
      const answers = await Promise.all(
        Array.from({ length: 6 }, (_, i) => release(replicas[i % 2]!, name, [`k${i}`, 's'])),
      );
      expect(answers.filter((answer) => answer === 'once')).toHaveLength(1);
      expect(answers.filter((answer) => answer === 'used-up')).toHaveLength(5);
      const same = await Promise.all(
        Array.from({ length: 4 }, (_, i) =>
          release(replicas[i % 2]!, name, [`k${answers.indexOf('once')}`, 's']),
        ),
      );
      expect(same).toEqual(Array.from({ length: 4 }, () => 'again once'));
    }
  });

  it('the same key on two replicas at once has it once', async () => {
    const url = newDatabase();
    const replicas = await Promise.all([openState(url), openState(url, { replica: 'two' })]);
    await inTransaction(replicas[0]!.db, (tx) =>
      replicas[0]!.resources.put(tx, path, { secret: secretOf('once'), releaseLimit: 1 }, 'alice'),
    );
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, i) => release(replicas[i % 2]!, path, ['k', 's'])),
    );
    expect(answers.sort()).toEqual([...Array.from({ length: 5 }, () => 'again once'), 'once']);
    const [version] = (await replicas[1]!.resources.describe(replicas[1]!.db, path))!.versions;
    expect(version!.released).toBe(1);
  });
});

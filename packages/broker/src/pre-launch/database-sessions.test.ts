import { openSecret, Secret } from '@vouchsafe/sev';
import { expect, it } from 'vitest';
import { onEveryEngine } from '../state/testing/engines.js';
import { openState, testTime } from '../state/testing/state.js';
import { databaseSessionStore } from './database-sessions.js';
import type { PendingSession } from './sessions.js';

const root = { name: 'Vouchsafe Development, Naples', kind: 'development', fingerprint: '00' } as const;
const keyOf = (byte: number) => Secret.take(new Uint8Array(16).fill(byte));

function session(launchId: string, expiresAt = testTime + 100): PendingSession {
  const platform = { apiMajor: 1, apiMinor: 55, buildId: 24 };
  return {
    launchId,
    expiresAt,
    policy: 1,
    chipId: 'c1'.repeat(64),
    platform,
    root,
    platformChecks: [],
    tek: keyOf(0xa1),
    tik: keyOf(0xb2),
  };
}

onEveryEngine('launch sessions in the database', (newDatabase) => {
  async function replicas(options = {}) {
    const url = newDatabase();
    const states = await Promise.all([openState(url), openState(url, { replica: 'two' })]);
    return { states, stores: states.map(({ db, keys }) => databaseSessionStore(db, keys, options)) };
  }

  it('each goes to one caller, on whichever replica, with what was kept', async () => {
    const { stores, states } = await replicas();
    const given = session('a');
    await stores[0]!.add(given);
    expect([given.tek.isZeroed, given.tik.isZeroed]).toEqual([true, true]);
    const [row] = await states[0]!.db.query.selectFrom('launch_sessions').selectAll().execute();
    expect(Buffer.from(row!.content!).includes(Buffer.alloc(8, 0xa1))).toBe(false);

    const taken = await Promise.all([0, 1, 0, 1].map((i) => stores[i]!.take('a', testTime)));
    const pending = taken.filter((each) => each.state === 'pending');
    expect(pending).toHaveLength(1);
    expect(taken.filter((each) => each.state === 'used')).toHaveLength(3);
    const { tek, tik, ...rest } = pending[0]!.session;
    const { tek: _tek, tik: _tik, ...expected } = session('a');
    expect(rest).toEqual(expected);
    expect([openSecret(tek), openSecret(tik)]).toEqual([openSecret(keyOf(0xa1)), openSecret(keyOf(0xb2))]);
    const [used] = await states[0]!.db.query.selectFrom('launch_sessions').selectAll().execute();
    expect(used!.content).toBeNull();
  });

  it('an expired one is nobody’s, its keys are gone, and later it is unknown', async () => {
    const { stores, states } = await replicas({ memory: 50 });
    await stores[0]!.add(session('a'));
    await stores[0]!.add(session('b'));
    expect(await stores[1]!.take('a', testTime + 100)).toEqual({ state: 'expired' });
    await stores[0]!.expire(testTime + 99);
    expect(await states[0]!.db.query.selectFrom('launch_sessions').select('state').execute()).toHaveLength(2);
    await stores[0]!.expire(testTime + 100);
    const rows = await states[0]!.db.query.selectFrom('launch_sessions').selectAll().execute();
    expect(rows.map(({ state, content }) => [state, content])).toEqual([
      ['expired', null],
      ['expired', null],
    ]);
    expect(await stores[1]!.take('b', testTime + 149)).toEqual({ state: 'expired' });
    expect(await stores[1]!.take('b', testTime + 150)).toEqual({ state: 'unknown' });
    await stores[0]!.expire(testTime + 150);
    expect(await states[0]!.db.query.selectFrom('launch_sessions').selectAll().execute()).toEqual([]);
    expect(await stores[1]!.take('c', testTime)).toEqual({ state: 'unknown' });
  });

  it('room is for sessions that wait, over all replicas', async () => {
    const { stores } = await replicas({ limit: 1 });
    await stores[0]!.add(session('a'));
    await expect(stores[1]!.add(session('b'))).rejects.toThrow(/1 launch sessions are waiting/);
    await stores[1]!.take('a', testTime);
    await stores[1]!.add(session('b'));
    await stores[0]!.close();
    expect(await stores[1]!.take('b', testTime)).toMatchObject({ state: 'pending' });
  });

  it('whose rows were edited are refused, and used up', async () => {
    const { stores, states } = await replicas();
    const { query } = states[0]!.db;
    await stores[0]!.add(session('a'));
    await query.updateTable('launch_sessions').set({ expires_at: '2099-01-01T00:00:00.000Z' }).execute();
    await expect(stores[0]!.take('a', testTime)).rejects.toThrow(/state.row/);
    expect(await stores[0]!.take('a', testTime)).toEqual({ state: 'used' });
    await query.updateTable('launch_sessions').set({ state: 'pending', ended_at: null }).execute();
    await expect(stores[0]!.take('a', testTime)).rejects.toThrow(/none, although it has not ended/);
  });
});

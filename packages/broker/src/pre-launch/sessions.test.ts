import { Secret } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { memorySessionStore, type PendingSession } from './sessions.js';

const root = { name: 'Vouchsafe Development, Naples', kind: 'development', fingerprint: '00' } as const;

function session(launchId: string, expiresAt = 100): PendingSession {
  const key = () => Secret.take(new Uint8Array(16));
  const platform = { apiMajor: 1, apiMinor: 55, buildId: 24 };
  return { launchId, expiresAt, policy: 1, platform, root, platformChecks: [], tek: key(), tik: key() };
}

describe('sessions in memory', () => {
  it('gives each session to one caller, and then says that it is used', async () => {
    const store = memorySessionStore();
    const one = session('a');
    await store.add(one);
    const taken = await Promise.all([store.take('a', 0), store.take('a', 0), store.take('b', 0)]);
    expect(taken).toEqual([{ state: 'pending', session: one }, { state: 'used' }, { state: 'unknown' }]);
    expect(one.tek.isZeroed).toBe(false);
  });

  it('an expired session is nobody’s, its keys are gone, and later it is unknown', async () => {
    const store = memorySessionStore({ memory: 50 });
    const one = session('a');
    await store.add(one);
    await store.expire(99);
    expect(one.tek.isZeroed).toBe(false);
    expect(await store.take('a', 100)).toEqual({ state: 'expired' });
    expect(one.tek.isZeroed && one.tik.isZeroed).toBe(true);
    expect(await store.take('a', 149)).toEqual({ state: 'expired' });
    expect(await store.take('a', 150)).toEqual({ state: 'unknown' });
  });

  it('room is for sessions that wait: one that was answered makes some', async () => {
    const store = memorySessionStore({ limit: 1 });
    await store.add(session('a'));
    await expect(store.add(session('b'))).rejects.toThrow(/1 launch sessions are waiting/);
    await store.take('a', 0);
    await store.add(session('b'));
    expect(await store.take('b', 0)).toMatchObject({ state: 'pending' });
  });

  it('whoever opens and answers without end does not fill it: the oldest are forgotten, and stay refused', async () => {
    const store = memorySessionStore({ limit: 1, remembered: 3 });
    for (const id of ['a', 'b', 'c', 'd']) {
      await store.add(session(id));
      await store.take(id, 0);
    }
    const states = await Promise.all(['a', 'b', 'c', 'd'].map(async (id) => (await store.take(id, 0)).state));
    expect(states).toEqual(['unknown', 'used', 'used', 'used']);
  });

  it('closing ends what waits', async () => {
    const store = memorySessionStore();
    const one = session('a');
    await store.add(one);
    await store.close();
    expect(one.tek.isZeroed && one.tik.isZeroed).toBe(true);
    expect(await store.take('a', 0)).toEqual({ state: 'unknown' });
  });
});

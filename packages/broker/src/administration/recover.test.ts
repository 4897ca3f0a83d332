import { RefusedError } from '@vouchsafe/sev';
import { expect, it } from 'vitest';
import { onEveryEngine } from '../state/testing/engines.js';
import { masterKey, openState } from '../state/testing/state.js';
import { administrator, makeBroker } from '../testing/broker.js';
import { longestTokenLifetime } from './admin-tokens.js';
import { recoverAdministration } from './recover.js';

interface Entry {
  readonly kind: string;
  readonly body: Readonly<Record<string, unknown>>;
}

onEveryEngine('a broker whose last administrator’s token has expired', (newDatabase) => {
  it('gets another while it runs, from whoever holds its master key', async () => {
    const world = await makeBroker({ database: newDatabase() });
    const { broker, admin, clock } = world;
    clock.now += longestTokenLifetime;
    expect((await admin.get('/v1/tokens')).status).toBe(401);
    const made = await recoverAdministration({ ...world, lifetime: 3_600_000 });
    expect(made.expiresAt).toBe(new Date(clock.now + 3_600_000).toISOString());

    const recovered = administrator(broker, made.token);
    const { json: tokens } = await recovered.get<{ id: string; name: string }[]>('/v1/tokens');
    expect(tokens.find(({ id }) => id === made.id)?.name).toBe('recovered administrator');
    const { json: entries } = await recovered.get<Entry[]>('/v1/audit/entries?kind=administration');
    expect(entries.at(-1)!.body).toMatchObject({
      act: 'token.issue',
      by: 'broker token recover',
      id: made.id,
      roles: ['admin', 'policy', 'auditor', 'reader'],
    });
    const { json: verified } = await recovered.get<{ accepted: boolean }>('/v1/audit/verify');
    expect(verified.accepted).toBe(true);
    // Neither is in the way of the other afterwards.
    expect((await recovered.post('/v1/keys/rotate', { overlap: 0 })).status).toBe(200);
    expect((await recovered.get<{ accepted: boolean }>('/v1/audit/verify')).json.accepted).toBe(true);
    clock.now += 3_600_000;
    expect((await recovered.get('/v1/tokens')).status).toBe(401);
  });

  it('gets none by another master key, none for longer than others, and none before it was initialised', async () => {
    const world = await makeBroker({ database: newDatabase() });
    const stranger = recoverAdministration({ ...world, masterKey: masterKey(2), lifetime: 1000 });
    await expect(stranger).rejects.toMatchObject({ appraisal: { checks: [{ id: 'state.master-key' }] } });
    await expect(stranger).rejects.toThrow(RefusedError);
    const long = recoverAdministration({ ...world, lifetime: longestTokenLifetime + 1 });
    await expect(long).rejects.toMatchObject({ argument: 'lifetime' });
    const database = newDatabase();
    const state = await openState(database, { now: world.now });
    await state.close();
    const empty = recoverAdministration({ ...world, masterKey: masterKey(), database, lifetime: 1000 });
    await expect(empty).rejects.toThrow('has not been initialised');
  });
});

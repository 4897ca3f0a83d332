import { describe, expect, it } from 'vitest';
import { makeBroker, makeGuest, publish, storeSecret } from '../testing/broker.js';

describe('a guest', () => {
  it('gets its secret', async () => {
    const world = await makeBroker();
    await publish(world);
    await storeSecret(world);
    const guest = await makeGuest(world.silicon.endorser);
    const session = await guest.attested(world.broker);
    expect(session.status).toBe(200);
    const answer = await guest.get(world.broker, 'repo/type/tag', { cookie: session.cookie });
    expect(answer.status).toBe(200);
    expect(await guest.open(answer)).toBe('the secret itself');
  });
});

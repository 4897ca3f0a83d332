import { beforeAll, expect, it } from 'vitest';
import { onEveryEngine } from '../state/testing/engines.js';
import {
  inject,
  makeBroker,
  makeGuest,
  makeSilicon,
  publish,
  type Silicon,
  storeSecret,
} from '../testing/broker.js';

let silicon: Silicon;
beforeAll(async () => {
  silicon = await makeSilicon();
});

onEveryEngine('two replicas of a broker', (newDatabase) => {
  async function pair() {
    const world = await makeBroker({ silicon, database: newDatabase() });
    const two = await world.open({ replica: 'two' });
    await publish(world);
    await storeSecret(world);
    return { ...world, replicas: [world.broker, two] as const };
  }

  it('serve one session, each request at another of them', async () => {
    const world = await pair();
    const [one, two] = world.replicas;
    const guests = await Promise.all(Array.from({ length: 8 }, () => makeGuest(silicon.endorser)));
    const texts = await Promise.all(
      guests.map(async (guest, i) => {
        const [first, second] = i % 2 === 0 ? [one, two] : [two, one];
        const { cookie } = await guest.attested(first, second);
        return guest.open(await guest.get(first, 'repo/type/tag', { cookie }));
      }),
    );
    expect(new Set(texts)).toEqual(new Set(['the secret itself']));
    const { json } = await world.admin.get<{ accepted: boolean }>('/v1/audit/verify');
    expect(json.accepted).toBe(true);
  });

  it('take one answer to a challenge, and no second', async () => {
    const world = await pair();
    const guest = await makeGuest(silicon.endorser);
    const { cookie = '', nonce = '' } = await guest.challenge(world.broker);
    const bodies = await Promise.all(
      [1, 2, 3, 4, 5, 6].map((guestSvn) => guest.evidence(nonce, { report: { fields: { guestSvn } } })),
    );
    const answers = await Promise.all(
      bodies.map((body, i) => guest.attest(world.replicas[i % 2]!, cookie, body)),
    );
    const taken = answers.findIndex(({ status }) => status === 200);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 401, 401, 401, 401, 401]);
    for (const replica of world.replicas) {
      const again = await guest.attest(replica, cookie, bodies[taken]!);
      expect(again.json.token).toBe(answers[taken]?.json.token);
    }
  });

  it('release a one-time secret once, asked at the same instant', async () => {
    const world = await pair();
    await storeSecret(world, 'repo/type/once', 'once', { releases: 1 });
    const guests = await Promise.all(Array.from({ length: 6 }, () => makeGuest(silicon.endorser)));
    const sessions = await Promise.all(guests.map((guest) => guest.attested(world.broker)));
    const answers = await Promise.all(
      guests.map((guest, i) =>
        guest.get(world.replicas[i % 2]!, 'repo/type/once', { cookie: sessions[i]!.cookie }),
      ),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 403, 403, 403, 403, 403]);
  });

  it('decide by a new policy from the moment that it is set', async () => {
    const world = await pair();
    const [, two] = world.replicas;
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(two);
    expect((await guest.get(two, 'repo/type/tag', { cookie })).status).toBe(200);
    const nobody = Buffer.from('@id("nobody") forbid (principal, action, resource);').toString('base64');
    await world.admin.put('/v1/policies/default', { policy: nobody });
    expect((await guest.get(two, 'repo/type/tag', { cookie })).status).toBe(403);
    await world.admin.delete('/v1/issuers/releases@example.org');
    const { json } = await inject<{ keys: unknown[] }>(two, { method: 'GET', url: '/.well-known/jwks.json' });
    expect(json.keys).toHaveLength(1);
  });
});

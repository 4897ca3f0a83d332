import { beforeAll, expect, it } from 'vitest';
import { secretText } from '../../../../tools/src/left-behind/secrets.js';
import { onEveryEngine } from '../state/testing/engines.js';
import {
  inject,
  makeBroker,
  makeGuest,
  makeSilicon,
  publish,
  type Silicon,
  storeSecret,
  theSecret,
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
    expect(new Set(texts)).toEqual(new Set([theSecret]));
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
    await storeSecret(world, 'repo/type/once', secretText('once'), { releases: 1 });
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

  it('agree on a release after one of them ended between any two statements of it', async () => {
    const world = await pair();
    const points: string[] = [];
    let failAt = Number.POSITIVE_INFINITY;
    const victim = await world.open({
      replica: 'victim',
      faultPoint(name) {
        points.push(name);
        if (points.length === failAt) throw new Error('killed');
      },
    });
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(world.broker);
    const other = await makeGuest(silicon.endorser);
    const second = await other.attested(world.broker);
    const ask = async (path: string) => {
      points.length = 0;
      return guest.get(victim, path, { cookie });
    };
    await storeSecret(world, 'repo/type/whole', secretText('whole'), { releases: 1 });
    expect((await ask('repo/type/whole')).status).toBe(200);
    const whole = points.length;
    expect(whole).toBeGreaterThan(8);

    for (let at = 1; at <= whole; at++) {
      const path = `repo/type/at-${at}`;
      await storeSecret(world, path, path, { releases: 1 });
      failAt = at;
      expect((await ask(path)).status, points.at(-1)).toBe(500);
      failAt = Number.POSITIVE_INFINITY;
      const { json } = await world.admin.get<{ versions: { released: number }[] }>(`/v1/secrets/${path}`);
      const { json: entries } = await world.admin.get<unknown[]>(
        `/v1/audit/entries?kind=release&subject=${path}`,
      );
      const released = json.versions[0]?.released;
      expect([released, entries.length], points.at(-1)).toEqual([released, released]);
      expect(released).toBe(at === whole ? 1 : 0);
      // The guest gets it from whoever is left, and nobody else does.
      expect(await guest.open(await guest.get(world.broker, path, { cookie }))).toBe(path);
      expect((await other.get(world.broker, path, second)).status).toBe(403);
    }
    const { json } = await world.admin.get<{ accepted: boolean }>('/v1/audit/verify');
    expect(json.accepted).toBe(true);
  });
});

import { teeKeyThumbprint } from '@vouchsafe/protocol';
import { fromHex, toBase64 } from '@vouchsafe/sev';
import { decodeJwt, SignJWT, UnsecuredJWT } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { secretText } from '../../../../tools/src/left-behind/secrets.js';
import {
  base64,
  inject,
  makeBroker,
  makeGuest,
  makeSilicon,
  measurement,
  minute,
  type Silicon,
  storeSecret,
  type TestBroker,
} from '../testing/broker.js';
import { type HandMadeAnswer, handMadePolicy } from '../testing/compiled-policies.js';
import {
  type ErrorAnswer,
  entries,
  explained,
  path,
  releasing,
  shared,
  variantOf,
} from '../testing/releasing.js';

let silicon: Silicon;
beforeAll(async () => {
  silicon = await makeSilicon();
});
const broker = shared((atEnd) => releasing({ silicon, atEnd }));

describe('a secret is not released', () => {
  it('without having attested, or with a token that is none of this broker’s', async () => {
    const world = broker();
    const stranger = await makeBroker({ silicon, key: 2 });
    const guest = await makeGuest(silicon.endorser);
    const elsewhere = await guest.attested(stranger.broker);
    const nothing = await guest.get(world.broker, path, {});
    expect([nothing.status, variantOf(nothing)]).toEqual([401, 'TokenNotFound']);
    const challenged = await guest.challenge(world.broker);
    const early = await guest.get(world.broker, path, { cookie: challenged.cookie ?? '' });
    expect([early.status, variantOf(early)]).toEqual([401, 'TokenNotFound']);
    const other = await guest.get(world.broker, path, { authorization: `Bearer ${elsewhere.token}` });
    expect([other.status, variantOf(other)]).toEqual([401, 'TokenVerifierError']);
    expect(other.json.detail).toContain('token.key');
  });

  it('for a token without a signature, or with another algorithm, at token.algorithm', async () => {
    const world = broker();
    const guest = await makeGuest(silicon.endorser);
    const { token = '' } = await guest.attested(world.broker);
    const claims = decodeJwt(token);
    const { json } = await inject<{ keys: { kid: string }[] }>(world.broker, {
      method: 'GET',
      url: '/.well-known/jwks.json',
    });
    const [own] = json.keys;
    const published = new TextEncoder().encode(JSON.stringify(own));
    const header = { typ: 'JWT', alg: 'HS256', kid: own!.kid };
    for (const forged of [
      new UnsecuredJWT(claims).encode(),
      await new SignJWT(claims).setProtectedHeader(header).sign(published),
    ]) {
      const answer = await guest.get(world.broker, path, { authorization: `Bearer ${forged}` });
      expect([answer.status, variantOf(answer)]).toEqual([401, 'TokenVerifierError']);
      expect(answer.json.detail).toContain('token.algorithm');
    }
  });

  it('after the session has ended, nor after the token has', async () => {
    const world = await releasing({ silicon });
    const guest = await makeGuest(silicon.endorser);
    const { cookie, token } = await guest.attested(world.broker);
    world.clock.now += 5 * minute;
    const late = await guest.get(world.broker, path, { cookie });
    expect([late.status, variantOf(late)]).toEqual([401, 'TokenNotFound']);
    const expired = await guest.get(world.broker, path, { authorization: `Bearer ${token}` });
    expect([expired.status, variantOf(expired)]).toEqual([401, 'TokenVerifierError']);
    expect(expired.json.detail).toContain('token.lifetime');
  });

  it('for a token of a retired key after its overlap, at token.key', async () => {
    const world = await releasing({ silicon });
    const guest = await makeGuest(silicon.endorser);
    const { token } = await guest.attested(world.broker);
    await world.admin.post('/v1/keys/rotate', { overlap: 60 });
    world.clock.now += minute - 1;
    expect((await guest.get(world.broker, path, { authorization: `Bearer ${token}` })).status).toBe(200);
    world.clock.now += 1;
    const answer = await guest.get(world.broker, path, { authorization: `Bearer ${token}` });
    expect([answer.status, answer.json.detail]).toEqual([401, expect.stringContaining('token.key')]);
  });

  it('by the policy that a broker begins with: 403 with a number, and the operator is told all', async () => {
    const world = await makeBroker({ silicon });
    await world.admin.put(`/v1/secrets/${path}`, { content: base64('secret') });
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(world.broker);
    const answer = await guest.get(world.broker, path, { cookie });
    expect([answer.status, variantOf(answer)]).toEqual([403, 'PolicyDeny']);
    expect(answer.json.detail).not.toContain('measurement');
    const { body, kind } = await explained(world, answer);
    expect(kind).toBe('decision');
    expect(body['allowed']).toBe(false);
    const rules = (body['denials'] as { rule: string }[]).map(({ rule }) => rule);
    expect(rules).toEqual(expect.arrayContaining(['demand.measurement', 'deny-all']));
  });

  it('to a guest whose measurement is not known, and the nearest known one is named', async () => {
    const world = broker();
    const wrong = `${'3f'}${measurement.slice(2)}`;
    const guest = await makeGuest(silicon.endorser, { report: { fields: { measurement: fromHex(wrong) } } });
    const { cookie } = await guest.attested(world.broker);
    const answer = await guest.get(world.broker, path, { cookie });
    expect([answer.status, variantOf(answer)]).toEqual([403, 'PolicyDeny']);
    const { body } = await explained(world, answer);
    const [denial] = body['denials'] as { rule: string; claim: string; found: string; nearest: string }[];
    expect(denial).toMatchObject({ rule: 'demand.measurement', claim: 'measurement', found: wrong });
    expect(denial?.nearest).toContain('test guest');
  });

  it('to less privileged software of a guest, at demand.vmpl', async () => {
    const world = broker();
    const guest = await makeGuest(silicon.endorser, { report: { fields: { vmpl: 2 } } });
    const { cookie } = await guest.attested(world.broker);
    const answer = await guest.get(world.broker, path, { cookie });
    expect(answer.status).toBe(403);
    expect((await explained(world, answer)).body).toMatchObject({
      rule: 'demand.vmpl',
      denials: [{ rule: 'demand.vmpl', claim: 'vmpl', expected: 'VMPL 0', found: 'VMPL 2' }],
    });
  });

  it('that there is not: 404, and no policy is blamed', async () => {
    const world = broker();
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(world.broker);
    const answer = await guest.get(world.broker, 'repo/type/other', { cookie });
    expect([answer.status, variantOf(answer)]).toEqual([404, 'PluginInternalError']);
  });

  it.each([
    ['disabled', {}, 'resource.disabled'],
    ['not valid yet', { notBefore: '2027-01-01T00:00:00Z' }, 'resource.not-yet-valid'],
    ['not valid any more', { notAfter: '2026-01-01T00:00:00Z' }, 'resource.expired'],
  ])('that is %s: 403, and why', async (what, limits, rule) => {
    const world = broker();
    const name = `limited/type/${rule}`;
    await storeSecret(world, name, secretText('limited'), limits);
    if (what === 'disabled') await world.admin.patch(`/v1/secrets/${name}`, { state: 'disabled' });
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(world.broker);
    const answer = await guest.get(world.broker, name, { cookie });
    expect(answer.status).toBe(403);
    expect((await explained(world, answer)).body['rule']).toBe(rule);
  });

  it('a second time to another key, where it is released once; the first key gets it again in its session', async () => {
    const world = broker();
    await storeSecret(world, 'once/type/key', secretText('once'), { releases: 1 });
    const [first, second] = [await makeGuest(silicon.endorser), await makeGuest(silicon.endorser)];
    const [one, two] = [await first.attested(world.broker), await second.attested(world.broker)];
    expect(await first.open(await first.get(world.broker, 'once/type/key', one))).toBe(secretText('once'));
    const refused = await second.get(world.broker, 'once/type/key', two);
    expect(refused.status).toBe(403);
    expect((await explained(world, refused)).body['rule']).toBe('resource.used-up');
    expect(await first.open(await first.get(world.broker, 'once/type/key', one))).toBe(secretText('once'));
  });

  it('to two replicas at the same instant, where it is released once', async () => {
    const world = broker();
    const replica = await world.open({ replica: 'two' });
    await storeSecret(world, 'once/type/instant', secretText('once'), { releases: 1 });
    const guests = await Promise.all([1, 2, 3, 4].map(() => makeGuest(silicon.endorser)));
    const sessions = await Promise.all(guests.map((guest) => guest.attested(world.broker)));
    const answers = await Promise.all(
      guests.map((guest, i) =>
        guest.get(i % 2 === 0 ? world.broker : replica, 'once/type/instant', { cookie: sessions[i]!.cookie }),
      ),
    );
    const refused = answers.filter(({ status }) => status !== 200);
    expect(refused.map(({ status }) => status)).toEqual([403, 403, 403]);
    for (const answer of refused)
      expect((await explained(world, answer)).body['rule']).toBe('resource.used-up');
  });

  it('in the clear to whoever stole a cookie, and the guest loses nothing', async () => {
    const world = broker();
    await storeSecret(world, 'once/type/stolen', secretText('once'), { releases: 1 });
    const [guest, thief] = [await makeGuest(silicon.endorser), await makeGuest(silicon.endorser)];
    const { cookie } = await guest.attested(world.broker);
    const stolen = await thief.get(world.broker, 'once/type/stolen', { cookie });
    await expect(thief.open(stolen)).rejects.toThrow('sealed to this key');
    expect(await guest.open(await guest.get(world.broker, 'once/type/stolen', { cookie }))).toBe(
      secretText('once'),
    );
    const { json } = await world.admin.get<{ versions: { released: number }[] }>(
      '/v1/secrets/once/type/stolen',
    );
    expect(json.versions[0]?.released).toBe(1);
    const [entry] = await entries(world, '&kind=release&subject=once/type/stolen');
    expect(entry?.body['guestKey']).toBe(await teeKeyThumbprint(guest.key.publicKey));
  });

  it('to more machines than the policy says, whatever their keys', async () => {
    const world = broker();
    const rule =
      '@id("one-machine")\npermit (principal is SnpGuest, action, resource) when { context.otherMachines < 1 };';
    await world.admin.put('/v1/policies/one-machine', { policy: base64(rule) });
    await storeSecret(world, 'machines/type/tag', secretText('for one'), { policy: 'one-machine' });
    const chipId = new Uint8Array(64).fill(0xc2);
    const fetch = async (guest: Awaited<ReturnType<typeof makeGuest>>) =>
      guest.get(world.broker, 'machines/type/tag', await guest.attested(world.broker));
    expect((await fetch(await makeGuest(silicon.endorser))).status).toBe(200);
    expect((await fetch(await makeGuest(silicon.endorser))).status).toBe(200);
    const answer = await fetch(await makeGuest(silicon.endorser, { chipId }));
    expect(answer.status).toBe(403);
    expect((await explained(world, answer)).body['denials']).toEqual([
      { rule: 'one-machine', claim: 'otherMachines', expected: 'less than 1', found: '1' },
    ]);
  });

  it('by a policy of its own that was deleted', async () => {
    const world = broker();
    await world.admin.put('/v1/policies/own', {
      policy: base64('@id("own") permit (principal, action, resource);'),
    });
    await storeSecret(world, 'own/type/tag', secretText('its own'), { policy: 'own' });
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(world.broker);
    expect((await guest.get(world.broker, 'own/type/tag', { cookie })).status).toBe(200);
    await world.admin.delete('/v1/policies/own');
    const denied = await guest.get(world.broker, 'own/type/tag', { cookie });
    expect([denied.status, (await explained(world, denied)).body['rule']]).toEqual([403, 'deny-by-default']);
    await world.admin.patch('/v1/secrets/own/type/tag', { policy: null });
    expect((await guest.get(world.broker, 'own/type/tag', { cookie })).status).toBe(200);
  });
});

describe('a compiled policy', () => {
  const put = (world: TestBroker, answer: HandMadeAnswer) =>
    world.admin.put('/v1/policies/default', { policy: toBase64(handMadePolicy({ answer })) });

  it('decides, and one that throws or loops denies', async () => {
    const world = await releasing({ silicon });
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(world.broker);
    const ask = () => guest.get(world.broker, path, { cookie });
    const deniedBy = async (answer: ErrorAnswer) => {
      expect([answer.status, variantOf(answer)]).toEqual([403, 'PolicyDeny']);
      const { body } = await explained(world, answer);
      return (body['denials'] as { rule: string }[]).map(({ rule }) => rule);
    };
    expect((await put(world, 'yes')).json).toMatchObject({ language: 'compiled-rego' });
    expect((await ask()).status).toBe(200);
    await put(world, 'no');
    expect(await deniedBy(await ask())).toEqual(['policy.allow']);
    await put(world, 'traps');
    expect(await deniedBy(await ask())).toEqual(['compiled-policy.failure']);
    await put(world, 'loops');
    expect(await deniedBy(await ask())).toEqual(['compiled-policy.deadline']);
    expect(await entries(world, '&kind=release')).toHaveLength(1);
  });
});

describe('a broker whose clock was set back', () => {
  it('answers nobody, and says nothing of why to guests', async () => {
    const world = await releasing({ silicon });
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(world.broker);
    world.clock.now -= 2 * minute;
    const answer = await guest.get(world.broker, path, { cookie });
    expect([answer.status, variantOf(answer)]).toEqual([503, 'StorageBackendInitialization']);
    expect(answer.json.detail).not.toContain('clock');
    const administrative = await world.admin.get<{ checks: { id: string }[] }>('/v1/secrets');
    expect([administrative.status, administrative.json.checks[0]?.id]).toEqual([503, 'broker.clock']);
    world.clock.now += 2 * minute;
    expect((await guest.get(world.broker, path, { cookie })).status).toBe(200);
  });
});

import { createHash } from 'node:crypto';
import { parseInitData, teeKeyKinds } from '@vouchsafe/protocol';
import { toHex } from '@vouchsafe/sev';
import { decodeJwt } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  inject,
  makeBroker,
  makeGuest,
  makeSilicon,
  measurement,
  type Silicon,
  theSecret,
} from '../testing/broker.js';
import { entries, explained, path, releasing, shared } from '../testing/releasing.js';

let silicon: Silicon;
beforeAll(async () => {
  silicon = await makeSilicon();
});
const broker = shared((atEnd) => releasing({ silicon, atEnd }));

describe('a guest gets its secret', () => {
  it.each(teeKeyKinds)('with a key of kind %s', async (kind) => {
    const world = broker();
    const guest = await makeGuest(silicon.endorser, { kind });
    const { cookie, status } = await guest.attested(world.broker);
    expect(status).toBe(200);
    const answer = await guest.get(world.broker, path, { cookie });
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toContain('application/json');
    expect(Object.keys(answer.json)).toEqual(['protected', 'encrypted_key', 'iv', 'ciphertext', 'tag']);
    expect(await guest.open(answer)).toBe(theSecret);
  });

  it('with its token instead of the cookie, on another replica', async () => {
    const world = broker();
    const other = await world.open({ replica: 'two' });
    const guest = await makeGuest(silicon.endorser);
    const { token = '' } = await guest.attested(world.broker);
    const answer = await guest.get(other, path, { authorization: `Bearer ${token}` });
    expect(await guest.open(answer)).toBe(theSecret);
  });

  it('with each request at another replica', async () => {
    const world = broker();
    const other = await world.open({ replica: 'three' });
    const guest = await makeGuest(silicon.endorser);
    const session = await guest.attested(world.broker, other);
    expect(session.status).toBe(200);
    expect(await guest.open(await guest.get(world.broker, path, session))).toBe(theSecret);
    const { json } = await world.admin.get<{ accepted: boolean }>('/v1/audit/verify');
    expect(json.accepted).toBe(true);
  });

  it('with init-data that its report binds, which become claims', async () => {
    const initData = 'version = "0.1.0"\nalgorithm = "sha256"\n[data]\n"aa.toml" = "a = 1"\n';
    const hostData = Uint8Array.from(createHash('sha256').update(initData).digest());
    const world = broker();
    const guest = await makeGuest(silicon.endorser, { initData, report: { fields: { hostData } } });
    const { token = '' } = await guest.attested(world.broker);
    const { submods } = decodeJwt<{ submods: { cpu0: Record<string, unknown> } }>(token);
    expect(submods.cpu0['ear.veraison.annotated-evidence']).toMatchObject({
      init_data: toHex(hostData),
      init_data_claims: { 'aa.toml': { a: 1 } },
    });
    expect(parseInitData(initData).data).toHaveProperty(['aa.toml']);
  });

  it('again and again in its session, and each time there is an entry', async () => {
    const world = await releasing({ silicon });
    const guest = await makeGuest(silicon.endorser);
    const session = await guest.attested(world.broker);
    for (let i = 0; i < 3; i++) expect((await guest.get(world.broker, path, session)).status).toBe(200);
    const released = await entries(world, '&kind=release');
    expect(released.map(({ subject }) => subject)).toEqual([path, path, path]);
  });
});

describe('the token', () => {
  it('speaks of the evidence, never calls software hardware, and comes again for the very same answer', async () => {
    const world = broker();
    const guest = await makeGuest(silicon.endorser);
    const session = await guest.attested(world.broker);
    const { submods, exp, iat, jti } = decodeJwt<{ submods: { cpu0: Record<string, unknown> } }>(
      session.token ?? '',
    );
    expect(exp! - iat!).toBe(300);
    expect(session.cookie).not.toContain(jti);
    expect(submods.cpu0).toMatchObject({
      'ear.status': 'contraindicated',
      'ear.trustworthiness-vector': { hardware: 97, executables: 3, configuration: 3 },
      'ear.vouchsafe.root': { name: 'Vouchsafe Development, Milan', kind: 'development' },
      'ear.veraison.annotated-evidence': {
        runtime_data_claims: { nonce: session.nonce, 'tee-pubkey': guest.key.publicKey },
        snp: { measurement, policy_debug_allowed: false },
      },
    });
    const again = await guest.attest(world.broker, session.cookie, session.body);
    expect([again.status, again.json.token]).toEqual([200, session.token]);
    expect(await entries(world, `&kind=appraisal&subject=${jti}`)).toHaveLength(1);
  });

  it('says that a measurement is not known', async () => {
    const world = broker();
    const fields = { measurement: new Uint8Array(48).fill(0x3f) };
    const guest = await makeGuest(silicon.endorser, { report: { fields } });
    const { token = '' } = await guest.attested(world.broker);
    const { submods } = decodeJwt<{ submods: { cpu0: Record<string, unknown> } }>(token);
    expect(submods.cpu0['ear.trustworthiness-vector']).toMatchObject({ executables: 33 });
  });
});

describe('the key service', () => {
  it('is not asked while a guest waits', async () => {
    const world = broker();
    const before = silicon.service.asked.length;
    const guest = await makeGuest(silicon.endorser);
    const session = await guest.attested(world.broker);
    await guest.get(world.broker, path, session);
    expect(silicon.service.asked.length).toBe(before);
  });

  it('gives a VCEK that a guest did not send, for its next attempt and for every replica', async () => {
    const world = await releasing({ silicon });
    const guest = await makeGuest(silicon.endorser, { certificates: 'none' });
    const first = await guest.attested(world.broker);
    expect([first.status, first.json.detail]).toEqual([401, expect.stringContaining('endorsement.files')]);
    await world.broker.endorsements.settled();
    expect((await guest.attested(world.broker)).status).toBe(200);
    const replica = await world.open({
      replica: 'two',
      keyService: { endorsement: silicon.service.endorsement },
    });
    expect((await guest.attested(replica)).status).toBe(200);
  });

  it('may be down for as long as the grace says, with the lists of the database', async () => {
    const own = await makeSilicon();
    const world = await releasing({ silicon: own });
    own.service.down = true;
    const replica = await world.open({ replica: 'two' });
    const guest = await makeGuest(own.endorser);
    const asks = async () => {
      const { cookie } = await guest.attested(replica);
      return guest.get(replica, path, { cookie });
    };
    expect((await asks()).status).toBe(200);
    // The list ends with March.
    world.clock.now = Date.UTC(2026, 3, 1, 23);
    expect((await asks()).status).toBe(200);
    world.clock.now = Date.UTC(2026, 3, 2, 1);
    const answer = await asks();
    expect(answer.status).toBe(403);
    expect((await explained(world, answer)).body['rule']).toBe('demand.revocation');
  });

  it('may be slow: the broker begins without it, is not ready, and ends without it', async () => {
    const own = await makeSilicon();
    const never = { endorsement: () => new Promise<Uint8Array>(() => undefined) };
    const world = await makeBroker({ silicon: own, keyService: never, startPatience: 1 });
    expect((await inject(world.broker, { method: 'GET', url: '/readyz' })).status).toBe(503);
    await world.broker.close();
  });

  it('that never answered leaves a broker that is not ready, and refuses', async () => {
    const own = await makeSilicon();
    own.service.down = true;
    const world = await makeBroker({ silicon: own });
    const ready = await inject<{ obstacles: string[] }>(world.broker, { method: 'GET', url: '/readyz' });
    expect(ready.status).toBe(503);
    const guest = await makeGuest(own.endorser);
    expect((await guest.attested(world.broker)).status).toBe(401);
    own.service.down = false;
    await world.broker.maintain();
    expect((await inject(world.broker, { method: 'GET', url: '/readyz' })).status).toBe(200);
    expect((await guest.attested(world.broker)).status).toBe(200);
  });
});

describe('the record', () => {
  it('has every step of a release, in order, and none of the secret', async () => {
    const world = await releasing({ silicon });
    const guest = await makeGuest(silicon.endorser);
    const session = await guest.attested(world.broker);
    await guest.get(world.broker, path, session);
    const steps = (await entries(world)).filter(({ kind }) => kind !== 'administration' && kind !== 'broker');
    expect(steps.map(({ kind }) => kind)).toEqual(['challenge', 'appraisal', 'decision', 'release']);
    const [challenge, appraisal, decision, release] = steps;
    const id = challenge?.body['session'];
    for (const step of steps) expect(step.body['session']).toBe(id);
    expect(appraisal?.body['evidence']).toMatchObject({
      report: expect.stringMatching(/^[A-Za-z0-9+/=]{1580}$/),
    });
    expect(decision?.body).toMatchObject({
      allowed: true,
      rule: 'everybody',
      references: ['releases@example.org/web'],
    });
    expect(release?.body).toMatchObject({ decision: decision?.reference, version: 1 });
    const text = JSON.stringify(await entries(world)) + world.logs.join('');
    for (const hidden of [theSecret, session.cookie.split('=')[1]!, session.token!, world.token])
      expect(text).not.toContain(hidden);
  });

  it('is verified, and names what was changed', async () => {
    const world = await releasing({ silicon });
    const { json } = await world.admin.get<{ accepted: boolean }>('/v1/audit/verify');
    expect(json.accepted).toBe(true);
    const row = await world.broker.state.db.query
      .selectFrom('record_entries')
      .selectAll()
      .where('sequence', '=', 3)
      .executeTakeFirstOrThrow();
    const body = row.body.slice();
    body[40]! ^= 1;
    await world.broker.state.db.query
      .updateTable('record_entries')
      .set({ body })
      .where('sequence', '=', 3)
      .execute();
    const changed = await world.admin.get<{ accepted: boolean; checks: { id: string; found?: string }[] }>(
      '/v1/audit/verify',
    );
    expect(changed.json.accepted).toBe(false);
    expect(changed.json.checks.find(({ id }) => id === 'record.chain')?.found).toContain('entry 3');
  });
});

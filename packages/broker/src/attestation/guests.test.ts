import { createHash } from 'node:crypto';
import {
  jsonText,
  largestRcarRequest,
  parseInitData,
  rcarErrorVariant,
  teeKeyKinds,
  teeKeyThumbprint,
} from '@vouchsafe/protocol';
import { amdEndorsementRoots, fromHex, toBase64, toHex } from '@vouchsafe/sev';
import { decodeJwt } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { describeWithVectors, jsonVector } from '../../../sev/src/testing/vectors.js';
import type { RecordEntry } from '../record/entry.js';
import {
  type Answered,
  base64,
  inject,
  makeBroker,
  makeGuest,
  makeSilicon,
  measurement,
  minute,
  numberIn,
  publish,
  type Silicon,
  storeSecret,
  type TestBroker,
  type TestBrokerOptions,
} from '../testing/broker.js';
import { type HandMadeAnswer, handMadePolicy } from '../testing/compiled-policies.js';

let silicon: Silicon;
beforeAll(async () => {
  silicon = await makeSilicon();
});

/** A broker that releases one secret to the test guest. */
async function releasing(options: TestBrokerOptions = {}): Promise<TestBroker> {
  const world = await makeBroker({ silicon, ...options });
  await publish(world);
  await storeSecret(world);
  return world;
}

const path = 'repo/type/tag';
type ErrorAnswer = Answered<{ type: string; detail: string }>;
const variantOf = ({ json }: ErrorAnswer) => rcarErrorVariant(json);

async function entries({ admin }: TestBroker, query = ''): Promise<RecordEntry[]> {
  return (await admin.get<RecordEntry[]>(`/v1/audit/entries?limit=1000${query}`)).json;
}

/** What the operator is told about a guest's number. */
async function explained({ admin }: TestBroker, answer: ErrorAnswer): Promise<RecordEntry> {
  const { json } = await admin.get<{ entry: RecordEntry }>(`/v1/decisions/${numberIn(answer)}`);
  return json.entry;
}

describe('a guest gets its secret', () => {
  it.each(teeKeyKinds)('with a key of kind %s', async (kind) => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser, { kind });
    const { cookie, status } = await guest.attested(world.broker);
    expect(status).toBe(200);
    const answer = await guest.get(world.broker, path, { cookie });
    expect(answer.status).toBe(200);
    expect(answer.headers['content-type']).toContain('application/json');
    expect(Object.keys(answer.json)).toEqual(['protected', 'encrypted_key', 'iv', 'ciphertext', 'tag']);
    expect(await guest.open(answer)).toBe('the secret itself');
  });

  it('with its token instead of the cookie, on another replica', async () => {
    const world = await releasing();
    const other = await world.open({ replica: 'two' });
    const guest = await makeGuest(silicon.endorser);
    const { token = '' } = await guest.attested(world.broker);
    const answer = await guest.get(other, path, { authorization: `Bearer ${token}` });
    expect(await guest.open(answer)).toBe('the secret itself');
  });

  it('with each request at another replica', async () => {
    const world = await releasing();
    const other = await world.open({ replica: 'two' });
    const guest = await makeGuest(silicon.endorser);
    const session = await guest.attested(world.broker, other);
    expect(session.status).toBe(200);
    expect(await guest.open(await guest.get(world.broker, path, session))).toBe('the secret itself');
    const { json } = await world.admin.get<{ accepted: boolean }>('/v1/audit/verify');
    expect(json.accepted).toBe(true);
  });

  it('with init-data that its report binds, which become claims', async () => {
    const initData = 'version = "0.1.0"\nalgorithm = "sha256"\n[data]\n"aa.toml" = "a = 1"\n';
    const hostData = Uint8Array.from(createHash('sha256').update(initData).digest());
    const world = await releasing();
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
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const session = await guest.attested(world.broker);
    for (let i = 0; i < 3; i++) expect((await guest.get(world.broker, path, session)).status).toBe(200);
    const released = await entries(world, '&kind=release');
    expect(released.map(({ subject }) => subject)).toEqual([path, path, path]);
  });
});

describe('the token', () => {
  it('speaks of the evidence, never calls software hardware, and comes again for the very same answer', async () => {
    const world = await releasing();
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
    const attested = await entries(world, '&kind=appraisal');
    expect(attested).toHaveLength(1);
  });

  it('says that a measurement is not known', async () => {
    const world = await makeBroker({ silicon });
    const guest = await makeGuest(silicon.endorser);
    const { token = '' } = await guest.attested(world.broker);
    const { submods } = decodeJwt<{ submods: { cpu0: Record<string, unknown> } }>(token);
    expect(submods.cpu0['ear.trustworthiness-vector']).toMatchObject({ executables: 33 });
  });
});

describe('an answer to a challenge is refused', () => {
  /** Refused with 401, the checks in the detail, and in the record. */
  async function expectRefused(world: TestBroker, answer: ErrorAnswer, ...checks: string[]) {
    expect(answer.status).toBe(401);
    expect(variantOf(answer)).toBe('AttestationError');
    for (const check of checks) expect(answer.json.detail).toContain(check);
    const { kind, body } = await explained(world, answer);
    expect(kind).toBe('appraisal');
    expect(body).toMatchObject({ accepted: false, failed: expect.arrayContaining(checks) });
  }

  it('when it was answered with other evidence before, at challenge.unused', async () => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const { cookie, nonce, token } = await guest.attested(world.broker);
    const other = await guest.evidence(nonce, { report: { fields: { guestSvn: 9 } } });
    const answer = await guest.attest(world.broker, cookie, other);
    await expectRefused(world, answer, 'challenge.unused');
    // What was attested stands.
    const again = await guest.get(world.broker, path, { authorization: `Bearer ${token}` });
    expect(again.status).toBe(200);
  });

  it('on another replica, too', async () => {
    const world = await releasing();
    const replica = await world.open({ replica: 'two' });
    const guest = await makeGuest(silicon.endorser);
    const { cookie, nonce, body, token } = await guest.attested(world.broker);
    expect((await guest.attest(replica, cookie, body)).json.token).toBe(token);
    const other = await guest.evidence(nonce, { report: { fields: { guestSvn: 9 } } });
    await expectRefused(world, await guest.attest(replica, cookie, other), 'challenge.unused');
  });

  it('by two replicas at once but for one', async () => {
    const world = await releasing();
    const replica = await world.open({ replica: 'two' });
    const guest = await makeGuest(silicon.endorser);
    const { cookie = '', nonce = '' } = await guest.challenge(world.broker);
    const bodies = await Promise.all(
      [1, 2, 3, 4].map((guestSvn) => guest.evidence(nonce, { report: { fields: { guestSvn } } })),
    );
    const answers = await Promise.all(
      bodies.map((body, i) => guest.attest(i % 2 === 0 ? world.broker : replica, cookie, body)),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 401, 401, 401]);
  });

  it('when it was refused before, at challenge.unused', async () => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const { cookie = '', nonce = '' } = await guest.challenge(world.broker);
    const bad = await guest.evidence(nonce, { bound: { nonce: base64('x'.repeat(32)) } });
    await expectRefused(world, await guest.attest(world.broker, cookie, bad), 'report.data');
    const good = await guest.evidence(nonce);
    await expectRefused(world, await guest.attest(world.broker, cookie, good), 'challenge.unused');
    await expectRefused(world, await guest.attest(world.broker, cookie, bad), 'challenge.unused');
  });

  it('in another session, at challenge.nonce', async () => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const [mine, theirs] = [await guest.challenge(world.broker), await guest.challenge(world.broker)];
    const body = await guest.evidence(mine.nonce);
    await expectRefused(world, await guest.attest(world.broker, theirs.cookie, body), 'challenge.nonce');
  });

  it('after the session has ended, at challenge.unexpired', async () => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const { cookie = '', nonce = '' } = await guest.challenge(world.broker);
    world.clock.now += 5 * minute;
    const body = await guest.evidence(nonce);
    await expectRefused(world, await guest.attest(world.broker, cookie, body), 'challenge.unexpired');
    world.clock.now += 6 * minute;
    await world.broker.maintain();
    const forgotten = await guest.attest(world.broker, cookie, body);
    expect([forgotten.status, variantOf(forgotten)]).toEqual([401, 'AttestationError']);
    expect(forgotten.json.detail).toContain('challenge.known');
  });

  it('without a session, or with two', async () => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const { cookie = '', nonce = '' } = await guest.challenge(world.broker);
    const body = await guest.evidence(nonce);
    for (const given of [
      undefined,
      `kbs-session-id=${'0'.repeat(32)}`,
      'kbs-session-id=../../x',
      `${cookie}; kbs-session-id=${'0'.repeat(32)}`,
    ]) {
      const answer = await guest.attest(world.broker, given, body);
      expect(answer.status, String(given)).toBe(401);
      expect(answer.json.detail).toContain('challenge.known');
    }
    expect((await guest.attest(world.broker, `${cookie}; other=1`, body)).status).toBe(200);
  });

  it('when the report binds another key, at report.data', async () => {
    const world = await releasing();
    const [guest, thief] = [await makeGuest(silicon.endorser), await makeGuest(silicon.endorser)];
    const { cookie, nonce } = await guest.challenge(world.broker);
    const body = await guest.evidence(nonce, {
      bound: { 'tee-pubkey': guest.key.publicKey },
      sent: thief.key.publicKey,
    });
    await expectRefused(world, await guest.attest(world.broker, cookie, body), 'report.data');
  });

  it('when the report binds another nonce, at report.data', async () => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const { cookie, nonce } = await guest.challenge(world.broker);
    const older = await guest.challenge(world.broker);
    const body = await guest.evidence(nonce, { bound: { nonce: older.nonce } });
    await expectRefused(world, await guest.attest(world.broker, cookie, body), 'report.data');
  });

  it('when init-data differ from HOST_DATA, at report.host-data', async () => {
    const initData = 'version = "0.1.0"\nalgorithm = "sha384"\n[data]\n"aa.toml" = "a = 1"\n';
    const hostData = Uint8Array.from(createHash('sha384').update(initData).digest()).slice(0, 32);
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser, { report: { fields: { hostData } } });
    const { cookie, nonce } = await guest.challenge(world.broker);
    const body = await guest.evidence(nonce, { initData: `${initData}# and a comment\n` });
    await expectRefused(world, await guest.attest(world.broker, cookie, body), 'report.host-data');
  });

  it('with evidence of devices, which nobody here appraises', async () => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const { cookie, nonce } = await guest.challenge(world.broker);
    const body = await guest.evidence(nonce);
    const devices = body.replace('"additional_evidence":""', '"additional_evidence":"{}"');
    expect(devices).not.toBe(body);
    await expectRefused(world, await guest.attest(world.broker, cookie, devices), 'evidence.devices');
  });

  it.each([
    ['a report that was changed', { edit: undefined, fields: { guestSvn: 5 } }, 'report.signature'],
    ['a guest that its host can debug', { policy: { debug: true } }, 'guest.debug'],
    ['a report that the host asked for', { fields: { vmpl: 0xffff_ffff } }, 'guest.requester'],
  ] as const)('for %s, at the check of the report', async (_, report, check) => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const { cookie, nonce } = await guest.challenge(world.broker);
    const { edit: _edit, ...changes } = { edit: undefined, ...report };
    let body = await guest.evidence(nonce, { report: changes });
    if (check === 'report.signature') body = body.replace('"guest_svn":5', '"guest_svn":6');
    await expectRefused(world, await guest.attest(world.broker, cookie, body), check);
  });

  it('of a software processor at a broker for AMD’s, at endorsement.ark.root', async () => {
    const world = await makeBroker({ silicon, roots: amdEndorsementRoots });
    const guest = await makeGuest(silicon.endorser, { certificates: 'table' });
    const { cookie, nonce } = await guest.challenge(world.broker);
    const body = await guest.evidence(nonce);
    await expectRefused(world, await guest.attest(world.broker, cookie, body), 'endorsement.ark.root');
  });
});

describeWithVectors('evidence of an AMD processor, kbs/snp', () => {
  it('is refused by a broker for software processors, at endorsement.ark.root', async () => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const genoa = jsonVector<unknown>('kbs/snp/evidence-genoa-vcek.json');
    const { cookie, nonce } = await guest.challenge(world.broker);
    const body = jsonText({
      'runtime-data': { nonce, 'tee-pubkey': guest.key.publicKey },
      'tee-evidence': { primary_evidence: genoa, additional_evidence: '' },
    });
    const answer = await guest.attest(world.broker, cookie, body);
    expect(answer.status).toBe(401);
    const { body: found } = await explained(world, answer);
    const appraisal = found['appraisal'] as { root?: object; checks: { id: string; status: string }[] };
    expect(appraisal.root).toBeUndefined();
    expect(appraisal.checks.find(({ id }) => id === 'endorsement.ark.root')?.status).toBe('fail');
  });
});

describe('a request that is not one', () => {
  const send = (world: TestBroker, url: string, payload: string | Buffer, headers = {}) =>
    inject<{ type: string; detail: string }>(world.broker, { method: 'POST', url, payload, headers });

  it('is refused at the member, and uses no challenge up', async () => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const { cookie = '', nonce = '' } = await guest.challenge(world.broker);
    const good = await guest.evidence(nonce);
    const cases: [string, string][] = [
      ['', '/'],
      ['{', '/'],
      ['[]', '/'],
      ['null', '/'],
      [`${'['.repeat(40)}${']'.repeat(40)}`, 'levels'],
      [good.replace('{', '{"runtime-data":{},'), 'each member once'],
      [good.replace(`"nonce":"${nonce}"`, '"nonce":7'), '/runtime-data/nonce'],
      [good.replace(`"nonce":"${nonce}"`, '"nonce":"short"'), '/runtime-data/nonce'],
      [good.replace('"kty":"EC"', '"kty":"oct"'), '/runtime-data/tee-pubkey'],
      [good.replace('"crv":"P-256"', '"crv":"P-384"'), '/runtime-data/tee-pubkey'],
      [good.replace('"vmpl":0', '"vmpl":"0"'), 'vmpl'],
      [good.replace('"vmpl":0', '"vmpl":-1'), 'vmpl'],
    ];
    for (const [body, where] of cases) {
      const answer = await guest.attest(world.broker, cookie, body);
      expect([answer.status, variantOf(answer)], where).toEqual([401, 'AttestationError']);
      expect(answer.json.detail).toContain(where);
    }
    expect((await guest.attest(world.broker, cookie, good)).status).toBe(200);
  });

  it('is refused when its key is off its curve, and uses no challenge up', async () => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const { cookie = '', nonce = '' } = await guest.challenge(world.broker);
    const { publicKey } = guest.key;
    if (publicKey.kty !== 'EC') throw new Error('an EC key');
    const body = await guest.evidence(nonce, { sent: { ...publicKey, x: publicKey.y } });
    const answer = await guest.attest(world.broker, cookie, body);
    expect([answer.status, answer.json.detail]).toEqual([401, expect.stringContaining('guest key')]);
    expect((await guest.attest(world.broker, cookie, await guest.evidence(nonce))).status).toBe(200);
  });

  it('has a largest size, and is text', async () => {
    const world = await makeBroker({ silicon });
    const large = await send(world, '/kbs/v0/attest', ' '.repeat(largestRcarRequest + 1));
    expect([large.status, variantOf(large)]).toEqual([413, 'HTTPFailed']);
    expect((await send(world, '/kbs/v0/auth', ' '.repeat(65 * 1024))).status).toBe(413);
    const bytes = await send(world, '/kbs/v0/auth', Buffer.from([0xff, 0xfe]));
    expect([bytes.status, variantOf(bytes)]).toEqual([401, 'AttestationError']);
  });

  it('names a version and a TEE that are served', async () => {
    const world = await makeBroker({ silicon });
    const guest = await makeGuest(silicon.endorser);
    for (const [request, check] of [
      [{ version: '0.3.0' }, 'request.version'],
      [{ version: '0.4.1' }, 'request.version'],
      [{ tee: 'tdx' }, 'request.tee'],
      [{ tee: 'sample' }, 'request.tee'],
      [{ tee: 'nonsense' }, 'request.tee'],
    ] as const) {
      const answer = (await guest.challenge(world.broker, request)) as unknown as ErrorAnswer;
      expect([answer.status, variantOf(answer)]).toEqual([401, 'AttestationError']);
      expect(answer.json.detail).toContain(check);
      expect(answer.headers['set-cookie']).toBeUndefined();
    }
    const older = await guest.challenge(world.broker, { 'extra-params': 'foo' });
    expect(older.status).toBe(200);
    expect(older.headers['set-cookie']).toMatch(
      /^kbs-session-id=[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}; Expires=[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 2026 [\d:]{8} GMT$/,
    );
    expect(Buffer.from(older.nonce, 'base64')).toHaveLength(32);
  });

  it.each([
    'repo/type',
    'repo/type/tag/more',
    'repo//tag',
    '../type/tag',
    'repo/type/..',
    'repo/type/.hidden',
    'repo/type/%2e%2e',
    'repo/type/tag%00',
    'repo/type/ta%67',
    'repo/type/tag ',
    'repo/type/täg',
    '',
  ])('names a resource by three plain segments, unlike %j', async (wanted) => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(world.broker);
    const answer = await guest.get(world.broker, wanted.replace(' ', '%20').replace('ä', '%C3%A4'), {
      cookie,
    });
    expect(answer.status).toBe(404);
    expect(['InvalidRequestPath', 'PluginNotFound']).toContain(variantOf(answer));
  });

  it('asks for no headers alone: that would release what they are of', async () => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(world.broker);
    const answer = await inject(world.broker, {
      method: 'HEAD',
      url: `/kbs/v0/resource/${path}`,
      headers: { cookie },
    });
    expect(answer.status).toBe(404);
    expect(await entries(world, '&kind=release')).toEqual([]);
  });

  it('asks what is there', async () => {
    const world = await makeBroker({ silicon });
    for (const [method, url] of [
      ['GET', '/kbs/v0/provisioner/x'],
      ['PUT', '/kbs/v0/resource/a/b/c'],
      ['GET', '/kbs/v0/auth'],
    ] as const) {
      const answer = await inject<{ type: string; detail: string }>(world.broker, { method, url });
      expect([answer.status, variantOf(answer)]).toEqual([404, 'PluginNotFound']);
    }
    const broken = await inject<{ type: string; detail: string }>(world.broker, {
      method: 'GET',
      url: '/kbs/v0/resource/a/b/%',
    });
    expect(broken.text).not.toContain('%');
    expect([400, 404]).toContain(broken.status);
  });
});

describe('a secret is not released', () => {
  it('without having attested, or with a token that is none of this broker’s', async () => {
    const world = await releasing();
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

  it('after the session has ended, nor after the token has', async () => {
    const world = await releasing();
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
    const world = await releasing();
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
    const world = await releasing();
    const wrong = `${'3f'}${measurement.slice(2)}`;
    const guest = await makeGuest(silicon.endorser, { report: { fields: { measurement: fromHex(wrong) } } });
    const { cookie } = await guest.attested(world.broker);
    const answer = await guest.get(world.broker, path, { cookie });
    const { body } = await explained(world, answer);
    const [denial] = body['denials'] as { rule: string; claim: string; found: string; nearest: string }[];
    expect(denial).toMatchObject({ rule: 'demand.measurement', claim: 'measurement', found: wrong });
    expect(denial?.nearest).toContain('test guest');
  });

  it('to less privileged software of a guest, at demand.vmpl', async () => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser, { report: { fields: { vmpl: 2 } } });
    const { cookie } = await guest.attested(world.broker);
    const answer = await guest.get(world.broker, path, { cookie });
    expect((await explained(world, answer)).body['rule']).toBe('demand.vmpl');
  });

  it('that there is not: 404, and no policy is blamed', async () => {
    const world = await releasing();
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
    const world = await releasing();
    await storeSecret(world, 'repo/type/limited', 'limited', limits);
    if (what === 'disabled') await world.admin.patch('/v1/secrets/repo/type/limited', { state: 'disabled' });
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(world.broker);
    const answer = await guest.get(world.broker, 'repo/type/limited', { cookie });
    expect(answer.status).toBe(403);
    expect((await explained(world, answer)).body['rule']).toBe(rule);
  });

  it('a second time to another key, where it is released once; the first key gets it again in its session', async () => {
    const world = await releasing();
    await storeSecret(world, 'repo/type/once', 'once', { releases: 1 });
    const [first, second] = [await makeGuest(silicon.endorser), await makeGuest(silicon.endorser)];
    const [one, two] = [await first.attested(world.broker), await second.attested(world.broker)];
    expect(await first.open(await first.get(world.broker, 'repo/type/once', one))).toBe('once');
    const refused = await second.get(world.broker, 'repo/type/once', two);
    expect(refused.status).toBe(403);
    expect((await explained(world, refused)).body['rule']).toBe('resource.used-up');
    expect(await first.open(await first.get(world.broker, 'repo/type/once', one))).toBe('once');
  });

  it('to two replicas at the same instant, where it is released once', async () => {
    const world = await releasing();
    const replica = await world.open({ replica: 'two' });
    await storeSecret(world, 'repo/type/once', 'once', { releases: 1 });
    const guests = await Promise.all([1, 2, 3, 4].map(() => makeGuest(silicon.endorser)));
    const sessions = await Promise.all(guests.map((guest) => guest.attested(world.broker)));
    const answers = await Promise.all(
      guests.map((guest, i) =>
        guest.get(i % 2 === 0 ? world.broker : replica, 'repo/type/once', { cookie: sessions[i]!.cookie }),
      ),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 403, 403, 403]);
  });

  it('in the clear to whoever stole a cookie, and the guest loses nothing', async () => {
    const world = await releasing();
    await storeSecret(world, 'repo/type/once', 'once', { releases: 1 });
    const [guest, thief] = [await makeGuest(silicon.endorser), await makeGuest(silicon.endorser)];
    const { cookie } = await guest.attested(world.broker);
    const stolen = await thief.get(world.broker, 'repo/type/once', { cookie });
    await expect(thief.open(stolen)).rejects.toThrow('sealed to this key');
    expect(await guest.open(await guest.get(world.broker, 'repo/type/once', { cookie }))).toBe('once');
    const { json } = await world.admin.get<{ versions: { released: number }[] }>(
      '/v1/secrets/repo/type/once',
    );
    expect(json.versions[0]?.released).toBe(1);
    const [entry] = await entries(world, '&kind=release');
    expect(entry?.body['guestKey']).toBe(await teeKeyThumbprint(guest.key.publicKey));
  });

  it('to more machines than the policy says', async () => {
    const world = await releasing();
    const rule =
      '@id("two-machines")\npermit (principal is SnpGuest, action, resource) when { context.otherMachines < 1 };';
    await world.admin.put('/v1/policies/default', { policy: base64(rule) });
    const first = await makeGuest(silicon.endorser);
    const session = await first.attested(world.broker);
    expect((await first.get(world.broker, path, session)).status).toBe(200);
    expect((await first.get(world.broker, path, session)).status).toBe(200);
  });

  it('by a policy of its own that was deleted', async () => {
    const world = await releasing();
    await world.admin.put('/v1/policies/own', {
      policy: base64('@id("own") permit (principal, action, resource);'),
    });
    await world.admin.patch(`/v1/secrets/${path}`, { policy: 'own' });
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(world.broker);
    expect((await guest.get(world.broker, path, { cookie })).status).toBe(200);
    await world.admin.delete('/v1/policies/own');
    expect((await guest.get(world.broker, path, { cookie })).status).toBe(403);
    await world.admin.patch(`/v1/secrets/${path}`, { policy: null });
    expect((await guest.get(world.broker, path, { cookie })).status).toBe(200);
  });
});

describe('a compiled policy', () => {
  const put = (world: TestBroker, answer: HandMadeAnswer) =>
    world.admin.put('/v1/policies/default', { policy: toBase64(handMadePolicy({ answer })) });

  it('decides, and one that throws or loops denies', async () => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(world.broker);
    const ask = () => guest.get(world.broker, path, { cookie });
    const ruleOf = async (answer: ErrorAnswer) =>
      ((await explained(world, answer)).body['denials'] as { rule: string }[])[0]?.rule;
    expect((await put(world, 'yes')).json).toMatchObject({
      language: 'compiled-rego',
    });
    expect((await ask()).status).toBe(200);
    await put(world, 'no');
    expect((await ask()).status).toBe(403);
    await put(world, 'traps');
    expect(await ruleOf(await ask())).toBe('compiled-policy.failure');
    await put(world, 'loops');
    expect(await ruleOf(await ask())).toBe('compiled-policy.deadline');
    expect(await entries(world, '&kind=release')).toHaveLength(1);
  });
});

describe('a broker whose clock was set back', () => {
  it('answers nobody, and says nothing of why to guests', async () => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const { cookie } = await guest.attested(world.broker);
    world.clock.now -= 2 * minute;
    const answer = await guest.get(world.broker, path, { cookie });
    expect([answer.status, variantOf(answer)]).toEqual([503, 'StorageBackendInitialization']);
    const administrative = await world.admin.get<{ checks: { id: string }[] }>('/v1/secrets');
    expect([administrative.status, administrative.json.checks[0]?.id]).toEqual([503, 'broker.clock']);
    world.clock.now += 2 * minute;
    expect((await guest.get(world.broker, path, { cookie })).status).toBe(200);
  });
});

describe('the key service', () => {
  it('is not asked while a guest waits', async () => {
    const world = await releasing();
    const before = silicon.service.asked.length;
    const guest = await makeGuest(silicon.endorser);
    const session = await guest.attested(world.broker);
    await guest.get(world.broker, path, session);
    expect(silicon.service.asked.length).toBe(before);
  });

  it('gives a VCEK that a guest did not send, for its next attempt and for every replica', async () => {
    const world = await releasing();
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

describe('whoever asks too often', () => {
  it('is told to wait, by its address', async () => {
    const world = await makeBroker({ silicon, limits: { perAddress: { perMinute: 60, burst: 5 } } });
    const guest = await makeGuest(silicon.endorser);
    const statuses = [];
    for (let i = 0; i < 6; i++) statuses.push((await guest.challenge(world.broker)).status);
    expect(statuses).toContain(200);
    expect(statuses.at(-1)).toBe(429);
    const answer = (await guest.challenge(world.broker)) as unknown as ErrorAnswer;
    expect(variantOf(answer)).toBe('HTTPFailed');
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
  });

  it('is told to wait, by its chip', async () => {
    const world = await makeBroker({ silicon, limits: { perChip: { perMinute: 2, burst: 2 } } });
    const guest = await makeGuest(silicon.endorser);
    expect((await guest.attested(world.broker)).status).toBe(200);
    expect((await guest.attested(world.broker)).status).toBe(200);
    const third = await guest.attested(world.broker);
    expect([third.status, third.headers['retry-after']]).toEqual([429, '30']);
    world.clock.now += minute / 2;
    expect((await guest.attested(world.broker)).status).toBe(200);
  });
});

describe('the record', () => {
  it('has every step of a release, in order, and none of the secret', async () => {
    const world = await releasing();
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
    for (const hidden of ['the secret itself', session.cookie.split('=')[1]!, session.token!, world.token])
      expect(text).not.toContain(hidden);
  });

  it('is verified, and names what was changed', async () => {
    const world = await releasing();
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

describe('what monitors see', () => {
  it('counts, and names no resource', async () => {
    const world = await releasing();
    const guest = await makeGuest(silicon.endorser);
    const session = await guest.attested(world.broker);
    await guest.get(world.broker, path, session);
    await guest.get(world.broker, 'repo/type/other', session);
    const { text, headers } = await inject(world.broker, { method: 'GET', url: '/metrics' });
    expect(headers['content-type']).toContain('text/plain');
    for (const line of [
      'kbs_auth_requests_total 1',
      'kbs_attestation_successes_total{tee_type="snp"} 1',
      'kbs_policy_approvals_total 2',
      'vouchsafe_releases_total{outcome="released"} 1',
      'vouchsafe_releases_total{outcome="absent"} 1',
      'kbs_http_requests_total{method="GET",route="/kbs/v0/resource/*",status="200"} 1',
      'vouchsafe_revocation_fresh{subject="Milan VCEK"} 1',
    ])
      expect(text).toContain(line);
    expect(text).not.toContain('repo/type');
    expect((await inject(world.broker, { method: 'POST', url: '/metrics', payload: 'x' })).status).toBe(405);
    expect((await inject(world.broker, { method: 'GET', url: '/healthz' })).status).toBe(200);
    expect(world.logs.join('')).not.toContain('repo/type');
  });

  it('publishes the keys of its tokens', async () => {
    const world = await makeBroker({ silicon });
    const { json } = await inject<{ keys: { kid: string; alg: string }[] }>(world.broker, {
      method: 'GET',
      url: '/.well-known/jwks.json',
    });
    expect(json.keys).toHaveLength(1);
    expect(Object.keys(json.keys[0]!).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']);
  });
});

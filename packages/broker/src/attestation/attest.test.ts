import { createHash } from 'node:crypto';
import { jsonText } from '@vouchsafe/protocol';
import { amdEndorsementRoots } from '@vouchsafe/sev';
import { beforeAll, describe, expect, it } from 'vitest';
import { describeWithVectors, jsonVector } from '../../../sev/src/testing/vectors.js';
import { base64, makeBroker, makeGuest, makeSilicon, minute, type Silicon } from '../testing/broker.js';
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

/** Refused with 401, at these checks and no others, in the detail as in the record. */
async function expectRefused(
  world: ReturnType<typeof broker>,
  answer: ErrorAnswer,
  ...checks: string[]
): Promise<void> {
  expect([answer.status, variantOf(answer)]).toEqual([401, 'AttestationError']);
  expect(answer.json.detail).toContain(`refused at ${checks.join(', ')}; `);
  const { kind, body } = await explained(world, answer);
  expect([kind, body['accepted'], body['failed']]).toEqual(['appraisal', false, checks]);
}

describe('an answer to a challenge is refused', () => {
  it('when it was answered with other evidence before, at challenge.unused', async () => {
    const world = broker();
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
    const world = broker();
    const replica = await world.open({ replica: 'two' });
    const guest = await makeGuest(silicon.endorser);
    const { cookie, nonce, body, token } = await guest.attested(world.broker);
    expect((await guest.attest(replica, cookie, body)).json.token).toBe(token);
    const other = await guest.evidence(nonce, { report: { fields: { guestSvn: 9 } } });
    await expectRefused(world, await guest.attest(replica, cookie, other), 'challenge.unused');
  });

  it('by two replicas at once but for one', async () => {
    const world = broker();
    const replica = await world.open({ replica: 'three' });
    const guest = await makeGuest(silicon.endorser);
    const { cookie = '', nonce = '' } = await guest.challenge(world.broker);
    const bodies = await Promise.all(
      [1, 2, 3, 4].map((guestSvn) => guest.evidence(nonce, { report: { fields: { guestSvn } } })),
    );
    const answers = await Promise.all(
      bodies.map((body, i) => guest.attest(i % 2 === 0 ? world.broker : replica, cookie, body)),
    );
    const refused = answers.filter(({ status }) => status !== 200);
    expect(refused).toHaveLength(3);
    for (const answer of refused) {
      expect(answer.status).toBe(401);
      expect((await explained(world, answer)).body['failed']).toContain('challenge.unused');
    }
  });

  it('when it was refused before, at challenge.unused', async () => {
    const world = broker();
    const guest = await makeGuest(silicon.endorser);
    const { cookie = '', nonce = '' } = await guest.challenge(world.broker);
    const bad = await guest.evidence(nonce, { bound: { nonce: base64('x'.repeat(32)) } });
    await expectRefused(world, await guest.attest(world.broker, cookie, bad), 'report.data');
    const good = await guest.evidence(nonce);
    await expectRefused(world, await guest.attest(world.broker, cookie, good), 'challenge.unused');
    await expectRefused(world, await guest.attest(world.broker, cookie, bad), 'challenge.unused');
  });

  it('in another session, at challenge.nonce', async () => {
    const world = broker();
    const guest = await makeGuest(silicon.endorser);
    const [mine, theirs] = [await guest.challenge(world.broker), await guest.challenge(world.broker)];
    const body = await guest.evidence(mine.nonce);
    await expectRefused(world, await guest.attest(world.broker, theirs.cookie, body), 'challenge.nonce');
  });

  it('after the session has ended, at challenge.unexpired; long after, nobody knows it any more', async () => {
    const world = await releasing({ silicon });
    const guest = await makeGuest(silicon.endorser);
    const { cookie = '', nonce = '' } = await guest.challenge(world.broker);
    const attested = await guest.attested(world.broker);
    world.clock.now += 5 * minute;
    const body = await guest.evidence(nonce);
    await expectRefused(world, await guest.attest(world.broker, cookie, body), 'challenge.unexpired');
    // The very same answer again, too.
    await expectRefused(
      world,
      await guest.attest(world.broker, attested.cookie, attested.body),
      'challenge.unexpired',
      'challenge.unused',
    );
    world.clock.now += 6 * minute;
    await world.broker.maintain();
    const forgotten = await guest.attest(world.broker, cookie, body);
    expect([forgotten.status, variantOf(forgotten)]).toEqual([401, 'AttestationError']);
    expect(forgotten.json.detail).toContain('challenge.known');
  });

  it('without a session, or with two, at challenge.known', async () => {
    const world = broker();
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
      expect([answer.status, variantOf(answer)], String(given)).toEqual([401, 'AttestationError']);
      expect(answer.json.detail).toContain('challenge.known');
    }
    expect((await guest.attest(world.broker, `${cookie}; other=1`, body)).status).toBe(200);
  });

  it('when the report binds another key, at report.data', async () => {
    const world = broker();
    const [guest, thief] = [await makeGuest(silicon.endorser), await makeGuest(silicon.endorser)];
    const { cookie, nonce } = await guest.challenge(world.broker);
    const body = await guest.evidence(nonce, {
      bound: { 'tee-pubkey': guest.key.publicKey },
      sent: thief.key.publicKey,
    });
    await expectRefused(world, await guest.attest(world.broker, cookie, body), 'report.data');
  });

  it('when the report binds another nonce, at report.data', async () => {
    const world = broker();
    const guest = await makeGuest(silicon.endorser);
    const { cookie, nonce } = await guest.challenge(world.broker);
    const older = await guest.challenge(world.broker);
    const body = await guest.evidence(nonce, { bound: { nonce: older.nonce } });
    await expectRefused(world, await guest.attest(world.broker, cookie, body), 'report.data');
  });

  it('when init-data differ from HOST_DATA, at report.host-data', async () => {
    const initData = 'version = "0.1.0"\nalgorithm = "sha384"\n[data]\n"aa.toml" = "a = 1"\n';
    const hostData = Uint8Array.from(createHash('sha384').update(initData).digest()).slice(0, 32);
    const world = broker();
    const guest = await makeGuest(silicon.endorser, { report: { fields: { hostData } } });
    const answered = async (given: string) => {
      const { cookie, nonce } = await guest.challenge(world.broker);
      return guest.attest(world.broker, cookie, await guest.evidence(nonce, { initData: given }));
    };
    expect((await answered(initData)).status).toBe(200);
    await expectRefused(world, await answered(`${initData}# and a comment\n`), 'report.host-data');
  });

  it('with evidence of devices, which nobody here appraises, at evidence.devices', async () => {
    const world = broker();
    const guest = await makeGuest(silicon.endorser);
    const { cookie, nonce } = await guest.challenge(world.broker);
    const body = await guest.evidence(nonce);
    const devices = body.replace('"additional_evidence":""', '"additional_evidence":"{}"');
    expect(devices).not.toBe(body);
    await expectRefused(world, await guest.attest(world.broker, cookie, devices), 'evidence.devices');
  });

  it('with a report that was changed, at report.signature', async () => {
    const world = broker();
    const guest = await makeGuest(silicon.endorser, { report: { fields: { guestSvn: 5 } } });
    const { cookie, nonce } = await guest.challenge(world.broker);
    const body = await guest.evidence(nonce);
    const changed = body.replace('"guest_svn":5', '"guest_svn":6');
    expect(changed).not.toBe(body);
    await expectRefused(world, await guest.attest(world.broker, cookie, changed), 'report.signature');
  });

  it.each([
    ['a guest that its host can debug', { policy: { debug: true } }, 'guest.debug'],
    ['a report that the host asked for', { fields: { vmpl: 0xffff_ffff } }, 'guest.requester'],
  ] as const)('for %s, at the check of the report', async (_, report, check) => {
    const guest = await makeGuest(silicon.endorser, { report });
    await expectRefused(broker(), await guest.attested(broker().broker), check);
  });

  it('of a software processor at a broker for AMD’s, at endorsement.ark.root', async () => {
    const world = await makeBroker({ silicon, roots: amdEndorsementRoots });
    const guest = await makeGuest(silicon.endorser, { certificates: 'table' });
    const { cookie, nonce } = await guest.challenge(world.broker);
    const answer = await guest.attest(world.broker, cookie, await guest.evidence(nonce));
    // The keys of the test's authorities are shorter than AMD's, too.
    await expectRefused(world, answer, 'endorsement.ark.root', 'endorsement.ark.key', 'endorsement.ask.key');
  });
});

describeWithVectors('evidence of an AMD processor, kbs/snp', () => {
  it('is refused by a broker for software processors, at endorsement.ark.root', async () => {
    const world = broker();
    const guest = await makeGuest(silicon.endorser);
    const genoa = jsonVector<unknown>('kbs/snp/evidence-genoa-vcek.json');
    const { cookie, nonce } = await guest.challenge(world.broker);
    const body = jsonText({
      'runtime-data': { nonce, 'tee-pubkey': guest.key.publicKey },
      'tee-evidence': { primary_evidence: genoa, additional_evidence: '' },
    });
    const answer = await guest.attest(world.broker, cookie, body);
    expect([answer.status, variantOf(answer)]).toEqual([401, 'AttestationError']);
    // Without a root, nothing else about the chip can be verified either.
    const { body: found } = await explained(world, answer);
    expect(found).toMatchObject({
      accepted: false,
      failed: expect.arrayContaining(['endorsement.ark.root']),
    });
    expect(found['appraisal']).not.toHaveProperty('root');
  });
});

describe('what is no answer to a challenge', () => {
  it('is refused at the member, and uses no challenge up', async () => {
    const world = broker();
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
      [good.replace('"vmpl":0', '"vmpl":"0"'), '/attestation_report/vmpl'],
      [good.replace('"vmpl":0', '"vmpl":-1'), '/attestation_report/vmpl'],
    ];
    const before = (await entries(world)).length;
    for (const [body, where] of cases) {
      const answer = await guest.attest(world.broker, cookie, body);
      expect([answer.status, variantOf(answer)], where).toEqual([401, 'AttestationError']);
      expect(answer.json.detail).toContain(where);
    }
    expect((await entries(world)).length).toBe(before);
    expect((await guest.attest(world.broker, cookie, good)).status).toBe(200);
  });

  it('is refused when its key is off its curve, and uses no challenge up', async () => {
    const world = broker();
    const guest = await makeGuest(silicon.endorser);
    const { cookie = '', nonce = '' } = await guest.challenge(world.broker);
    const { publicKey } = guest.key;
    if (publicKey.kty !== 'EC') throw new Error('an EC key');
    const body = await guest.evidence(nonce, { sent: { ...publicKey, x: publicKey.y } });
    const answer = await guest.attest(world.broker, cookie, body);
    expect([answer.status, answer.json.detail]).toEqual([401, expect.stringContaining('guest key')]);
    expect((await guest.attest(world.broker, cookie, await guest.evidence(nonce))).status).toBe(200);
  });
});

describe('a request for a challenge', () => {
  it('names a version and a TEE that are served', async () => {
    const world = broker();
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
});

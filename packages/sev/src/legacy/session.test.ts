import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromHex, toHex } from '../bytes.js';
import { ecdhP384, generateP384, systemRandom } from '../crypto/index.js';
import { InvalidArgumentError, MalformedError } from '../errors.js';
import { openSecret, Secret } from '../secret.js';
import { countingRandom } from '../testing/keys.js';
import { byteArray, byteChange, changed } from '../testing/mutations.js';
import { describeWithVectors, jsonVector } from '../testing/vectors.js';
import { p384KeyOf, parseSevCertificate } from './certificate.js';
import { deriveKey, deriveMasterSecret, deriveWrappingKeys } from './key-derivation.js';
import {
  createLaunchSession,
  launchSessionBuffer,
  SessionRefusedError,
  unwrapTransportKeys,
  wrapTransportKeys,
} from './session.js';

interface SessionVector {
  readonly shared_secret: string;
  readonly nonce: string;
  readonly wrap_iv: string;
  readonly tek: string;
  readonly tik: string;
  readonly policy: number;
  readonly expect: Readonly<Record<string, string>>;
}

const opened = (secret: Secret) => toHex(openSecret(secret));

describeWithVectors('session, known answers', () => {
  const vector = jsonVector<SessionVector>('sev/session.json');
  const sharedSecret = fromHex(vector.shared_secret);
  const nonce = fromHex(vector.nonce);

  test('derives master secret, KEK and KIK', async () => {
    expect(opened(await deriveMasterSecret(sharedSecret, nonce))).toBe(vector.expect['master']);
    const { kek, kik } = await deriveWrappingKeys(sharedSecret, nonce);
    expect(opened(kek)).toBe(vector.expect['kek']);
    expect(opened(kik)).toBe(vector.expect['kik']);
  });

  test('wraps the transport keys', async () => {
    const buffer = await wrapTransportKeys({
      sharedSecret,
      nonce,
      wrapIv: fromHex(vector.wrap_iv),
      tek: fromHex(vector.tek),
      tik: fromHex(vector.tik),
      policy: vector.policy,
    });
    const session = launchSessionBuffer.parse(buffer);
    expect(toHex(session.wrappedKeys)).toBe(vector.expect['wrap_tk']);
    expect(toHex(session.wrapMac)).toBe(vector.expect['wrap_mac']);
    expect(toHex(session.policyMac)).toBe(vector.expect['policy_mac']);
    expect(toHex(session.nonce)).toBe(vector.nonce);
    expect(toHex(session.wrapIv)).toBe(vector.wrap_iv);
  });
});

describe('session', () => {
  test('a platform opens what an owner made for it', async () => {
    const pdh = await generateP384();
    const made = await createLaunchSession({ pdh: pdh.publicKey, policy: 5, random: systemRandom });
    const godh = p384KeyOf(parseSevCertificate(made.godhCertificate));
    const sharedSecret = await ecdhP384(pdh, godh);
    const { tek, tik } = await unwrapTransportKeys({ sharedSecret, session: made.session, policy: 5 });
    expect(opened(tek)).toBe(opened(made.tek));
    expect(opened(tik)).toBe(opened(made.tik));
  });

  test('the owner’s certificate is an unsigned ECDH certificate of API 0.0', async () => {
    const { publicKey: pdh } = await generateP384();
    const { godhCertificate } = await createLaunchSession({ pdh, policy: 0, random: systemRandom });
    const certificate = parseSevCertificate(godhCertificate);
    expect(certificate).toMatchObject({ apiMajor: 0, apiMinor: 0, usage: 'PDH', algorithm: 'ECDH-SHA256' });
    expect(certificate.signatures.map(({ kind }) => kind)).toEqual(['empty', 'empty']);
  });

  test('every session has keys, nonce, IV and owner key of its own', async () => {
    const { publicKey: pdh } = await generateP384();
    const random = countingRandom();
    const sessions = await Promise.all([1, 2].map(() => createLaunchSession({ pdh, policy: 1, random })));
    const [first, second] = sessions.map(({ tek, tik, session, godhCertificate }) => {
      const { nonce, wrapIv } = launchSessionBuffer.parse(session);
      return [opened(tek), opened(tik), toHex(nonce), toHex(wrapIv), toHex(godhCertificate)];
    });
    for (const value of first!) expect(second).not.toContain(value);
    expect(new Set([...first!, ...second!]).size).toBe(10);
  });

  test('refuses a point that is not on the curve as the platform’s key', async () => {
    const pdh = { x: new Uint8Array(48).fill(1), y: new Uint8Array(48).fill(2) };
    const creating = createLaunchSession({ pdh, policy: 0, random: systemRandom });
    await expect(creating).rejects.toThrow(InvalidArgumentError);
  });

  test('printing a session shows no key', async () => {
    const { publicKey: pdh } = await generateP384();
    const tek = new Uint8Array(16).fill(0xab);
    const session = await createLaunchSession({ pdh, policy: 0, random: systemRandom, keys: { tek } });
    expect(JSON.stringify(session.tek)).not.toContain('ab');
    expect(opened(session.tek)).toBe(toHex(tek));
  });

  const sharedSecret = new Uint8Array(48).fill(7);
  const make = async (policy = 0x37010005) =>
    wrapTransportKeys({
      sharedSecret,
      nonce: new Uint8Array(16).fill(1),
      wrapIv: new Uint8Array(16).fill(2),
      tek: Secret.copyOf(new Uint8Array(16).fill(3)),
      tik: new Uint8Array(16).fill(4),
      policy,
    });

  test('any keys and any policy come back', async () => {
    const sixteen = byteArray(16);
    await fc.assert(
      fc.asyncProperty(
        byteArray(48),
        sixteen,
        sixteen,
        sixteen,
        sixteen,
        fc.nat(0xffffffff),
        async (secret, nonce, wrapIv, tek, tik, policy) => {
          const session = await wrapTransportKeys({ sharedSecret: secret, nonce, wrapIv, tek, tik, policy });
          const keys = await unwrapTransportKeys({ sharedSecret: secret, session, policy });
          expect(opened(keys.tek)).toBe(toHex(tek));
          expect(opened(keys.tik)).toBe(toHex(tik));
        },
      ),
    );
  });

  test('a change of any one byte is refused, at the MAC that covers it', async () => {
    const session = await make();
    const policyMacAt = launchSessionBuffer.offsetOf('policyMac');
    await fc.assert(
      fc.asyncProperty(byteChange(session.length), async (change) => {
        // The IV has no MAC of its own: a change turns the keys to noise, which the policy MAC then shows.
        const ivAt = launchSessionBuffer.offsetOf('wrapIv');
        const inIv = change.at >= ivAt && change.at < launchSessionBuffer.offsetOf('wrapMac');
        const which = inIv || change.at >= policyMacAt ? 'policy-mac' : 'wrap-mac';
        const refusal = unwrapTransportKeys({
          sharedSecret,
          session: changed(session, change),
          policy: 0x37010005,
        });
        await expect(refusal).rejects.toMatchObject({ code: 'session-refused', which });
      }),
      { numRuns: 400 },
    );
  });

  test.each([
    ['debugging allowed', 0x37010004],
    ['key sharing bit changed', 0x37010007],
    ['ES off', 0x37010001],
    ['lower API', 0x36010005],
    ['reserved bit set', 0x37010045],
  ])('refuses another policy than the owner’s: %s', async (_what, policy) => {
    const refusal = unwrapTransportKeys({ sharedSecret, session: await make(), policy });
    await expect(refusal).rejects.toThrow(SessionRefusedError);
    await expect(refusal).rejects.toMatchObject({ which: 'policy-mac' });
  });

  test('refuses another shared secret', async () => {
    const other = new Uint8Array(48).fill(8);
    const refusal = unwrapTransportKeys({ sharedSecret: other, session: await make(), policy: 0x37010005 });
    await expect(refusal).rejects.toMatchObject({ which: 'wrap-mac' });
  });

  test('a length other than 0x80 is malformed', async () => {
    const session = await make();
    for (const wrong of [session.slice(1), new Uint8Array(), new Uint8Array([...session, 0])]) {
      const refusal = unwrapTransportKeys({ sharedSecret, session: wrong, policy: 0x37010005 });
      await expect(refusal).rejects.toThrow(MalformedError);
    }
  });

  test.each(['nonce', 'wrapIv', 'tek', 'tik'] as const)('refuses a %s that is not 16 bytes', async (name) => {
    const sixteen = new Uint8Array(16);
    const good = { sharedSecret, nonce: sixteen, wrapIv: sixteen, tek: sixteen, tik: sixteen, policy: 0 };
    const refusal = wrapTransportKeys({ ...good, [name]: new Uint8Array(15) });
    await expect(refusal).rejects.toThrow(InvalidArgumentError);
  });

  test('refuses a policy of more than 32 bits', async () => {
    await expect(make(2 ** 32)).rejects.toThrow(InvalidArgumentError);
  });

  test('label, context and key all matter to a derived key', async () => {
    const key = new Uint8Array(16);
    const inputs = [
      [key, 'sev-kek', undefined],
      [key, 'sev-kik', undefined],
      [key, 'sev-kek', new Uint8Array(16)],
      [new Uint8Array(16).fill(1), 'sev-kek', undefined],
    ] as const;
    const derived = await Promise.all(
      inputs.map(async ([own, label, context]) => opened(await deriveKey(own, label, context))),
    );
    expect(new Set(derived).size).toBe(inputs.length);
  });
});

import { createHmac } from 'node:crypto';
import { fromBase64Url, toBase64Url } from '@vouchsafe/protocol';
import type { BrokerAttack } from '../attack.js';
import { ask, required } from './answers.js';
import { brokerOutcome } from './outcome.js';
import { type BrokerRig, diskKey } from './world.js';

/** What speaks for a machine after it has attested: the broker's token, and the cookie of its session. */

const flow = 'tokens and sessions';
const modes = ['broker'] as const;
const minute = 60_000;
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const part = (value: object) => toBase64Url(new TextEncoder().encode(JSON.stringify(value)));
const objectIn = (encoded = ''): object => JSON.parse(text(fromBase64Url(encoded))) as object;

/** A token that the broker must not take for its own. */
function presenting(
  id: string,
  title: string,
  at: string,
  tokenOf: (rig: BrokerRig) => Promise<string>,
): BrokerAttack {
  return {
    id,
    flow,
    modes,
    title,
    refusedBy: 'broker',
    at,
    async run(_world, rig) {
      const guest = await rig.guest();
      const authorization = `Bearer ${await tokenOf(rig)}`;
      const answer = await guest.get(diskKey.path, { authorization });
      return brokerOutcome(rig, 'a secret without attestation', answer);
    },
  };
}

const newToken = async (rig: BrokerRig) => (await (await rig.guest()).attested()).token;

/** Another header before the token's own claims. @returns what a signature is over */
function withHeader(token: string, change: object): string {
  const [header, claims] = token.split('.');
  return `${part({ ...objectIn(header), ...change })}.${claims}`;
}

export const tokenAttacks: readonly BrokerAttack[] = [
  presenting(
    'token-unsigned',
    'A client presents a token whose header says that it needs no signature',
    'token.algorithm',
    async (rig) => `${withHeader(await newToken(rig), { alg: 'none' })}.`,
  ),
  presenting(
    'token-under-public-key',
    'A client signs a token of its own with HMAC, under the key that the broker publishes',
    'token.algorithm',
    async (rig) => {
      const published = required(await ask(rig.broker, { method: 'GET', url: '/.well-known/jwks.json' }));
      const { keys } = JSON.parse(published.text) as { readonly keys: readonly object[] };
      const signed = withHeader(await newToken(rig), { alg: 'HS256' });
      const mac = createHmac('sha256', JSON.stringify(keys[0])).update(signed).digest();
      return `${signed}.${toBase64Url(mac)}`;
    },
  ),
  presenting(
    'token-altered',
    'A client writes other claims into a token and leaves the signature',
    'token.signature',
    async (rig) => {
      const [header, claims, signature] = (await newToken(rig)).split('.');
      return `${header}.${part({ ...objectIn(claims), jti: 'another' })}.${signature}`;
    },
  ),
  presenting(
    'token-of-another-broker',
    'A client that has attested to another owner’s broker presents that one’s token here',
    'token.key',
    async (rig) => (await (await rig.guest()).attested(await rig.stranger())).token,
  ),
  presenting(
    'token-expired',
    'A client presents a token after its five minutes',
    'token.lifetime',
    async (rig) => {
      const token = await newToken(rig);
      rig.pass(5 * minute);
      return token;
    },
  ),
  presenting(
    'token-of-a-retired-key',
    'A client presents a token of a key that was replaced, after the overlap that its owner granted',
    'token.key',
    async (rig) => {
      const token = await newToken(rig);
      required(await rig.administer('POST', '/keys/rotate', { overlap: 60 }));
      rig.pass(minute);
      return token;
    },
  ),
  {
    id: 'cookie-before-attestation',
    flow,
    modes,
    title: 'A client asks for a secret with the cookie of a challenge that nobody has answered',
    refusedBy: 'broker',
    at: 'challenge.known',
    async run(_world, rig) {
      const guest = await rig.guest();
      const { cookie } = await guest.challenge();
      const answer = await guest.get(diskKey.path, { cookie });
      return brokerOutcome(rig, 'a secret without attestation', answer);
    },
  },
  {
    id: 'cookie-stolen',
    flow,
    modes,
    title: 'The host takes the cookie of a session and asks for its one-time secret before the guest does',
    refusedBy: 'harmless',
    at: 'ciphertext for the guest’s key, and the guest gets it still',
    async run(_world, rig) {
      const once = { path: 'machines/keys/once', content: 'for one key alone' };
      await rig.store(once.path, once.content, { releases: 1 });
      const [guest, host] = [await rig.guest(), await rig.guest()];
      const { cookie } = await guest.attested();
      const stolen = required(await host.get(once.path, { cookie }));
      const opened = await host.open(stolen).catch(() => undefined);
      const answer = await guest.get(once.path, { cookie });
      const received = answer.status === 200 ? await guest.open(answer) : undefined;
      return opened === undefined && received === once.content
        ? {
            refusedBy: 'harmless',
            at: 'ciphertext for the guest’s key, and the guest gets it still',
            evidence: 'the host’s key does not open the answer; the guest’s opens the second one',
          }
        : {
            refusedBy: 'nobody',
            at: opened === undefined ? 'a secret that the guest gets no more' : 'the guest’s secret',
            evidence: `the guest was answered with ${answer.status}`,
          };
    },
  },
];

import { execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MalformedError, RefusedError, UnavailableError } from '@vouchsafe/sev';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { base64, resourcesOf, serveAgent, utf8 } from '../../testing/agent-fixture.js';
import { type ImageSignature, imagePolicyGate, type OfferedImage } from './gate.js';
import { openSignedMessage } from './open-pgp.js';
import { imagePolicy } from './policy.js';
import { imagePolicySource } from './source.js';

const manifest = utf8('{"schemaVersion":2}');
const digestOf = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const image = 'registry.example/team/app:1';
const reject = [{ type: 'reject' }];
const accept = [{ type: 'insecureAcceptAnything' }];
const newKey = () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { privateKey, pem: publicKey.export({ type: 'spki', format: 'pem' }).toString() };
};
const owner = newKey();
const other = newKey();

function gateFor(policy: unknown, secrets: Record<string, string> = {}) {
  const resources = resourcesOf({ 'default/security-policy/test': JSON.stringify(policy), ...secrets });
  return imagePolicyGate(imagePolicySource({ place: 'kbs:///default/security-policy/test' }, resources));
}
const payloadOf = (type: string, digest = digestOf(manifest), reference = image) =>
  utf8(
    JSON.stringify({
      critical: {
        type,
        image: { 'docker-manifest-digest': digest },
        identity: { 'docker-reference': reference },
      },
      optional: null,
    }),
  );
const cosign = (
  payload = payloadOf('cosign container image signature'),
  key: KeyObject = owner.privateKey,
): ImageSignature => ({
  kind: 'sigstore',
  payload,
  signature: sign('sha256', payload, key),
});
const offered = (...signatures: ImageSignature[]): OfferedImage => ({ image, manifest, signatures });
const failedChecks = async (work: Promise<unknown>) => {
  const error: unknown = await work.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(RefusedError);
  return (error as RefusedError).appraisal.checks
    .filter(({ status }) => status === 'fail')
    .map(({ id, found }) => `${id}: ${found}`);
};
describe('an image policy that came as a secret', () => {
  const allowList = { default: reject, transports: { docker: { 'registry.example/team': accept } } };

  it('allows what is on its list, and refuses the rest by name', async () => {
    const gate = gateFor(allowList);
    expect((await gate.requireAllowed(offered()))!.checks.map(({ id, status }) => [id, status])).toEqual([
      ['image.allowed', 'pass'],
      ['image.signed', 'not-asked'],
    ]);
    const foreign = { ...offered(), image: 'registry.example/other/app' };
    expect(await failedChecks(gate.requireAllowed(foreign))).toEqual(['image.allowed: the rule for default']);
    await gate.requireNotRejected(image);
    expect(await failedChecks(gate.requireNotRejected('busybox'))).toHaveLength(1);
  });

  it('is enforced by the agent before an image is pulled, and what cannot be had allows nothing', async () => {
    const pulled: string[] = [];
    const puller = {
      async pull({ image: name, gate }: { image: string; gate: ReturnType<typeof gateFor> }) {
        await gate.requireAllowed({ image: name, manifest, signatures: [] });
        pulled.push(name);
        return digestOf(manifest);
      },
    };
    const secrets = { 'p/p/list': JSON.stringify(allowList), 'p/p/broken': '{"default":[]}' };
    for (const [place, expected] of [
      ['kbs:///p/p/list', RefusedError],
      ['kbs:///p/p/broken', MalformedError],
      ['kbs:///other/key/1', Error],
      ['/none/policy.json', UnavailableError],
    ] as const) {
      const resources = resourcesOf(secrets);
      const gate = imagePolicyGate(imagePolicySource({ place }, resources));
      await expect(puller.pull({ image: 'busybox', gate }), place).rejects.toThrow(expected);
    }
    expect(pulled).toEqual([]);
    const { agent } = await serveAgent({ secrets, policy: { place: 'kbs:///p/p/list' }, puller });
    expect(agent.keyProvider).toBeDefined();
  });

  it('is fetched once, and again after it could not be had', async () => {
    let asked = 0;
    const gate = imagePolicyGate({
      async policy() {
        if (asked++ === 0) throw new UnavailableError('key broker', 'away');
        return imagePolicy.parse({ default: accept });
      },
      readKey: async () => new Uint8Array(),
    });
    await expect(gate.requireAllowed(offered())).rejects.toThrow(UnavailableError);
    await gate.requireAllowed(offered());
    await gate.requireAllowed(offered());
    expect(asked).toBe(2);
  });

  it('that was not given lets every image pass', async () => {
    const gate = imagePolicyGate(imagePolicySource(undefined, resourcesOf({})));
    expect(await gate.requireAllowed(offered())).toBeUndefined();
  });
});

describe('a signature that a policy requires', () => {
  const policy = {
    default: reject,
    transports: {
      docker: { 'registry.example': [{ type: 'sigstoreSigned', keyPath: 'kbs:///default/cosign/key' }] },
    },
  };
  const gate = gateFor(policy, { 'default/cosign/key': owner.pem });

  it('by its key, over this image under this name, is good, also among others', async () => {
    const wrong = cosign(undefined, other.privateKey);
    const appraisal = await gate.requireAllowed(offered(wrong, cosign()));
    expect(appraisal!.checks.map(({ status }) => status)).toEqual(['pass', 'pass']);
  });

  const type = 'cosign container image signature';
  it.each<[string, ImageSignature[], string]>([
    ['that is not there', [], 'no signature of this kind'],
    ['by another key', [cosign(undefined, other.privateKey)], 'of none of the keys'],
    ['over another image', [cosign(payloadOf(type, digestOf(utf8('x'))))], `over ${digestOf(utf8('x'))}`],
    [
      'for another name',
      [cosign(payloadOf(type, undefined, 'registry.example/team/other:1'))],
      'for the name',
    ],
    ['for another tag', [cosign(payloadOf(type, undefined, 'registry.example/team/app:2'))], 'for the name'],
    ['of another kind of claim', [cosign(payloadOf('atomic container signature'))], 'over something else'],
    ['over what is no JSON', [cosign(utf8('{'))], 'over something else'],
    [
      'whose payload was changed',
      [{ ...cosign(), payload: payloadOf(type, undefined, 'registry.example/x') } as ImageSignature],
      'of none of the keys',
    ],
  ])('%s is none', async (_what, signatures, found) => {
    expect(await failedChecks(gate.requireAllowed(offered(...signatures)))).toEqual([
      expect.stringContaining(found),
    ]);
  });

  it('is missed when one of two is there', async () => {
    const both = [
      { type: 'sigstoreSigned', keyData: base64(owner.pem) },
      { type: 'sigstoreSigned', keyData: base64(other.pem) },
    ];
    const strict = gateFor({ default: both });
    expect(await failedChecks(strict.requireAllowed(offered(cosign())))).toHaveLength(1);
    const second = cosign(undefined, other.privateKey);
    await strict.requireAllowed(offered(cosign(), second));
  });

  it('whose key cannot be had allows nothing', async () => {
    await expect(gateFor(policy).requireAllowed(offered(cosign()))).rejects.toThrow(/none of the name/);
  });
});

describe('a simple signature', () => {
  const hasGpg = () => {
    try {
      execFileSync('gpg', ['--version'], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  };
  const type = 'atomic container signature';
  // Short: gpg's agent has a socket in it.
  let home = '';
  afterAll(() => home !== '' && rmSync(home, { recursive: true, force: true }));
  let made: { publicKey: Buffer; message: Buffer; foreign: Buffer } | undefined;
  beforeAll(() => {
    if (!hasGpg()) return;
    home = mkdtempSync(join(tmpdir(), 'vsg-'));
    const gpg = (words: readonly string[], input?: Uint8Array) =>
      execFileSync(
        'gpg',
        ['--homedir', home, '--batch', '--passphrase', '', '--pinentry-mode', 'loopback', ...words],
        {
          ...(input === undefined ? {} : { input }),
          stdio: ['pipe', 'pipe', 'ignore'],
        },
      );
    for (const name of ['owner', 'other'])
      gpg(['--quick-generate-key', `${name} <${name}@example.org>`, 'ed25519', 'sign', 'never']);
    const signed = (who: string) => gpg(['-u', who, '--sign', '--output', '-'], payloadOf(type));
    made = {
      publicKey: gpg(['--export', 'owner@example.org']),
      message: signed('owner'),
      foreign: signed('other'),
    };
    execFileSync('gpgconf', ['--homedir', home, '--kill', 'all'], { stdio: 'ignore' });
  });

  it('counts where its key is the policy’s', async ({ skip }) => {
    if (made === undefined) return skip('gpg is not installed (package gpg)');
    const { publicKey, message, foreign } = made;
    const requirement = { type: 'signedBy', keyType: 'GPGKeys', keyData: base64(publicKey) };
    const gate = gateFor({ default: [requirement] });
    const simple = (bytes: Uint8Array): ImageSignature => ({ kind: 'simple', message: bytes });
    await gate.requireAllowed(offered(simple(message)));
    expect(await failedChecks(gate.requireAllowed(offered(simple(foreign))))).toEqual([
      'image.signed: signedBy: a signature of none of the keys',
    ]);
    const altered = new Uint8Array(message);
    altered[altered.length - 3]! ^= 1;
    for (const bytes of [altered, utf8('not a message'), payloadOf(type)])
      expect(await failedChecks(gate.requireAllowed(offered(simple(bytes))))).toHaveLength(1);
    const nonsense = { ...requirement, keyData: base64('nonsense') };
    await expect(gateFor({ default: [nonsense] }).requireAllowed(offered(simple(message)))).rejects.toThrow(
      /cannot read them/,
    );
  });

  it('without gpg allows nothing, and says what to install', async () => {
    await expect(openSignedMessage(utf8('x'), [utf8('y')], '/none/gpg')).rejects.toMatchObject({
      hint: expect.stringContaining('package gpg'),
    });
  });
});

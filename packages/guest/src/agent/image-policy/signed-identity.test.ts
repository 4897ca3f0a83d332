import { createHash } from 'node:crypto';
import { MalformedError } from '@vouchsafe/sev';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { utf8 } from '../../testing/agent-fixture.js';
import { parseImageReference, referenceText, scopesOf } from './image-reference.js';
import { imagePolicy } from './policy.js';
import { isSignedFor, parseSignedClaim } from './signed-identity.js';

const manifest = utf8('{"schemaVersion":2}');
const digestOf = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const image = 'registry.example/team/app:1';

describe('the name of an image', () => {
  it.each([
    ['busybox', 'docker.io/library/busybox:latest'],
    ['team/app', 'docker.io/team/app:latest'],
    ['docker://registry.example/app:1', 'registry.example/app:1'],
    ['localhost:5000/app', 'localhost:5000/app:latest'],
    [`registry.example/app:1@${digestOf(manifest)}`, `registry.example/app@${digestOf(manifest)}`],
  ])('%s is %s', (text, whole) => expect(referenceText(parseImageReference(text))).toBe(whole));

  it.each([
    '',
    'UPPER/case',
    'registry.example/',
    'a//b',
    'a@sha256:00',
    'a:b:c',
    'app:',
    '../x',
    'registry.example/a b',
  ])('%j is none', (text) =>
    expect(() => parseImageReference(text)).toThrow(expect.objectContaining({ argument: 'image' })),
  );

  it('is in these scopes, the narrowest first', () => {
    expect(scopesOf(parseImageReference('a.registry.example/team/app:1'))).toEqual([
      'a.registry.example/team/app:1',
      'a.registry.example/team/app',
      'a.registry.example/team',
      'a.registry.example',
      '*.registry.example',
      '*.example',
    ]);
    expect(scopesOf(parseImageReference('dir:/srv/images/app'))).toEqual([
      '/srv/images/app',
      '/srv/images',
      '/srv',
    ]);
  });

  it('that is read is read again the same', () => {
    const word = fc.stringMatching(/^[a-z0-9]{1,8}$/);
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 3 }), word, (parts, tag) => {
        const reference = parseImageReference(`registry.example/${parts.join('/')}:${tag}`);
        expect(parseImageReference(referenceText(reference))).toEqual(reference);
      }),
    );
  });
});

describe('the name that was signed', () => {
  const of = parseImageReference;
  const digested = `registry.example/app@${digestOf(manifest)}`;
  it.each<[object, string, string, boolean]>([
    [{ type: 'matchRepoDigestOrExact' }, 'registry.example/app:1', 'registry.example/app:1', true],
    [{ type: 'matchRepoDigestOrExact' }, 'registry.example/app:1', 'registry.example/app:2', false],
    [{ type: 'matchRepoDigestOrExact' }, digested, 'registry.example/app:2', true],
    [{ type: 'matchRepoDigestOrExact' }, digested, 'registry.example/other:2', false],
    [{ type: 'matchExact' }, digested, 'registry.example/app:2', false],
    [{ type: 'matchRepository' }, 'registry.example/app:1', 'registry.example/app:2', true],
    [{ type: 'matchRepository' }, 'dir:/app', 'dir:/app', false],
    [{ type: 'matchRepository' }, 'registry.example/app:1', 'no name of an image', false],
    [
      { type: 'exactReference', dockerReference: 'signed.example/x:1' },
      'registry.example/app:1',
      'signed.example/x:1',
      true,
    ],
    [
      { type: 'exactReference', dockerReference: 'signed.example/x:1' },
      'registry.example/app:1',
      'registry.example/app:1',
      false,
    ],
    [
      { type: 'exactRepository', dockerRepository: 'signed.example/x' },
      'registry.example/app:1',
      'signed.example/x:9',
      true,
    ],
    [
      { type: 'remapIdentity', prefix: 'mirror.example', signedPrefix: 'registry.example' },
      'mirror.example/app:1',
      'registry.example/app:1',
      true,
    ],
    [
      { type: 'remapIdentity', prefix: 'mirror.example', signedPrefix: 'registry.example' },
      'mirror.example.org/app:1',
      'registry.example.org/app:1',
      false,
    ],
  ])('%j: %s, signed as %s: %s', (rule, pulled, signed, good) => {
    const policy = imagePolicy.parse({
      default: [{ type: 'sigstoreSigned', keyData: 'AAAA', signedIdentity: rule }],
    });
    const [requirement] = policy.default;
    const identity = requirement?.type === 'sigstoreSigned' ? requirement.signedIdentity : undefined;
    expect(isSignedFor(of(pulled), signed, identity)).toBe(good);
  });
});

describe('what was signed', () => {
  const claim = (image: object, identity: object) =>
    utf8(JSON.stringify({ critical: { type: 'cosign container image signature', image, identity } }));
  const good = { 'docker-manifest-digest': digestOf(manifest) };
  const named = { 'docker-reference': image };

  it('is a digest and a name', () => {
    expect(parseSignedClaim(claim(good, named), 'sigstoreSigned')).toEqual({
      digest: digestOf(manifest),
      reference: image,
    });
  });

  it.each<[string, object, object, string]>([
    ['no digest', {}, named, 'docker-manifest-digest'],
    ['a digest that is a number', { 'docker-manifest-digest': 5 }, named, 'docker-manifest-digest'],
    [
      'a digest in one list',
      { 'docker-manifest-digest': [digestOf(manifest)] },
      named,
      'docker-manifest-digest',
    ],
    ['a digest of another kind', { 'docker-manifest-digest': 'sha1:00' }, named, 'docker-manifest-digest'],
    ['no name', good, {}, 'docker-reference'],
    ['an empty name', good, { 'docker-reference': '' }, 'docker-reference'],
    ['a name that is a list', good, { 'docker-reference': [image] }, 'docker-reference'],
  ])('with %s is refused', (_what, signedImage, identity, field) => {
    const parse = () => parseSignedClaim(claim(signedImage, identity), 'sigstoreSigned');
    expect(parse).toThrow(MalformedError);
    expect(parse).toThrow(field);
  });
});

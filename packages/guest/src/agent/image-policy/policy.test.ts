import { MalformedError } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { describeWithVectors, jsonVector } from '../../../../sev/src/testing/vectors.js';
import { parseImageReference } from './image-reference.js';
import { imagePolicy, requirementsFor } from './policy.js';

const reject = [{ type: 'reject' }];

describe('a policy file', () => {
  it.each<[string, object]>([
    ['without a default', { transports: {} }],
    ['with no requirement', { default: [] }],
    ['with a requirement that is not known', { default: [{ type: 'accept' }] }],
    ['with a member that is not known', { default: reject, extra: 1 }],
    ['with two keys', { default: [{ type: 'sigstoreSigned', keyPath: '/a', keyData: 'AAAA' }] }],
    ['with no key', { default: [{ type: 'signedBy', keyType: 'GPGKeys' }] }],
    [
      'that wants a transparency log',
      { default: [{ type: 'sigstoreSigned', keyPath: '/a', rekorPublicKeyPath: '/b' }] },
    ],
    ...[
      { type: 'matchExact' },
      { type: 'matchRepoDigestOrExact' },
      { type: 'matchRepository' },
      { type: 'exactReference', dockerReference: 'a' },
      { type: 'exactRepository', dockerRepository: 'a' },
      { type: 'remapIdentity', prefix: 'a', signedPrefix: 'b' },
    ].map((rule): [string, object] => [
      `with ${rule.type} and a member that is not known`,
      { default: [{ type: 'sigstoreSigned', keyPath: '/a', signedIdentity: { ...rule, extra: 1 } }] },
    ]),
  ])('%s is refused', (_what, policy) => expect(() => imagePolicy.parse(policy)).toThrow(MalformedError));
});

describeWithVectors('the sample of a policy', () => {
  const sample = () => imagePolicy.parse(jsonVector('kbs/image/signature-policy.json'));
  it.each([
    ['busybox', 'default', ['reject']],
    ['dir:/srv/app', 'dir:', ['insecureAcceptAnything']],
    ['example.com/playground/app', 'docker:example.com/playground', ['insecureAcceptAnything']],
    ['example.com/hardened/app', 'docker:example.com/hardened', ['signedBy', 'signedBy']],
    ['registry.access.redhat.com/x', 'docker:registry.access.redhat.com', ['signedBy', 'signedBy']],
    ['other.access.redhat.com/x', 'docker:*.access.redhat.com', ['signedBy', 'signedBy']],
    ['other.redhat.com/x', 'docker:*.redhat.com', ['signedBy', 'signedBy']],
    ['example.com/other', 'docker:*.com', ['signedBy', 'signedBy']],
  ])('has for %s the rule of %s', (name, scope, types) => {
    const found = requirementsFor(sample(), parseImageReference(name));
    expect([found.scope, found.requirements.map(({ type }) => type)]).toEqual([scope, types]);
  });
});

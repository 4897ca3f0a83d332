import { generateIssuerKey, type ReferenceDocument, type Role } from '@vouchsafe/broker';
import type { BrokerAttack } from '../attack.js';
import { type Answer, required } from './answers.js';
import { brokerOutcome } from './outcome.js';
import { type BrokerRig, base64Of } from './world.js';

/** Whoever may tell the broker something, and tells it what is another's to say. */

const modes = ['broker'] as const;

/** What comes to the administrators' API and must not count. */
function telling(
  id: string,
  title: string,
  at: string,
  otherwise: string,
  tell: (rig: BrokerRig) => Promise<Answer>,
): BrokerAttack {
  return {
    id,
    flow: 'administration',
    modes,
    title,
    refusedBy: 'broker',
    at,
    run: async (_world, rig) => brokerOutcome(rig, otherwise, await tell(rig)),
  };
}

/** Reference values that somebody brings, who may bring some. */
function bringing(
  id: string,
  title: string,
  at: string,
  changes: Partial<ReferenceDocument>,
  signedBy?: 'stranger',
): BrokerAttack {
  return telling(id, title, at, 'software that its issuer does not vouch for', async (rig) => {
    const key = signedBy === undefined ? undefined : (await generateIssuerKey('stranger')).privateKey;
    const document = await rig.referenceValues(changes, key);
    return rig.administer('POST', '/reference-values', { document });
  });
}

async function tokenFor(rig: BrokerRig, role: Role): Promise<string> {
  const wanted = { name: role, roles: [role], lifetime: 60 };
  const { text } = required(await rig.administer('POST', '/tokens', wanted));
  return (JSON.parse(text) as { readonly token: string }).token;
}

const otherSecret = { content: base64Of('a key of the attacker’s') };

export const administrationAttacks: readonly BrokerAttack[] = [
  telling(
    'reference-values-unsigned',
    'Somebody brings reference values that nobody has signed',
    'reference.format',
    'software of an attacker’s choice',
    (rig) => rig.administer('POST', '/reference-values', { document: '{}' }),
  ),
  bringing(
    'reference-values-of-a-stranger',
    'Somebody signs reference values with a key of their own, in the name of the issuer',
    'reference.signature',
    { version: 3 },
    'stranger',
  ),
  bringing(
    'reference-values-of-an-unknown-issuer',
    'Somebody brings reference values of an issuer whom the broker does not trust',
    'reference.issuer',
    { version: 3, issuer: 'releases@stranger.example' },
  ),
  bringing(
    'reference-values-rolled-back',
    'Somebody brings reference values of the issuer’s that were replaced by newer ones',
    'reference.version',
    { version: 1 },
  ),
  bringing(
    'reference-values-expired',
    'Somebody brings reference values of the issuer’s whose period is over',
    'reference.validity',
    { version: 3, notAfter: new Date(Date.now() - 1000).toISOString() },
  ),
  telling(
    'policy-not-of-the-schema',
    'Somebody sets a release policy over a claim that there is not, which no evidence could contradict',
    'invalid-argument',
    'a policy that says something else than it seems to',
    (rig) =>
      rig.administer('PUT', '/policies/default', {
        policy: base64Of('@id("typo")\npermit (principal, action, resource) unless { principal.debugg };\n'),
      }),
  ),
  telling(
    'administrator-without-a-token',
    'Somebody without an administrator’s token stores a secret',
    'unauthenticated',
    'a disk key of the attacker’s choice',
    (rig) => rig.administer('PUT', '/secrets/machines/keys/disk', otherSecret, 'none'),
  ),
  telling(
    'policy-role-stores-secrets',
    'An administrator who may set policies stores a secret, too',
    'forbidden',
    'a disk key of the attacker’s choice',
    async (rig) =>
      rig.administer('PUT', '/secrets/machines/keys/disk', otherSecret, await tokenFor(rig, 'policy')),
  ),
  telling(
    'admin-role-sets-policies',
    'An administrator who may store secrets sets the policy that releases them, too',
    'forbidden',
    'every secret, for every machine',
    async (rig) => {
      const policy = base64Of('@id("mine")\npermit (principal, action, resource);\n');
      return rig.administer('PUT', '/policies/default', { policy }, await tokenFor(rig, 'admin'));
    },
  ),
  telling(
    'token-for-more-than-ones-own',
    'An administrator issues a token with a role that is not their own',
    'forbidden',
    'a role that nobody granted',
    async (rig) => {
      const wanted = { name: 'more', roles: ['policy'], lifetime: 60 };
      return rig.administer('POST', '/tokens', wanted, await tokenFor(rig, 'admin'));
    },
  ),
];

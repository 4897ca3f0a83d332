import { toHex } from '@vouchsafe/sev';
import type { BrokerAttack } from '../attack.js';
import { type Answer, required } from './answers.js';
import type { EvidenceChanges } from './guest.js';
import { brokerOutcome } from './outcome.js';
import { type BrokerRig, diskKey } from './world.js';

/** A machine that has attested, and what it asks for beyond what is meant for it. */

const modes = ['broker'] as const;
const once = { path: 'machines/keys/once', content: 'for one key alone' } as const;

/** A client whose session has attested, and asks for secrets. */
async function attested(rig: BrokerRig, changes: EvidenceChanges = {}) {
  const guest = await rig.guest();
  const { cookie, nonce } = await guest.challenge();
  required(await guest.attest(cookie, await guest.evidence(nonce, changes)));
  return { get: (path: string, at = rig.broker) => guest.get(path, { cookie }, at) };
}

const publish = async (rig: BrokerRig, changes: Parameters<BrokerRig['referenceValues']>[0]) => {
  const document = await rig.referenceValues({ version: 3, ...changes });
  required(await rig.administer('POST', '/reference-values', { document }));
};

/** What is asked for, and must not be given. */
function asking(
  id: string,
  title: string,
  at: string,
  otherwise: string,
  ask: (rig: BrokerRig) => Promise<Answer>,
): BrokerAttack {
  return {
    id,
    flow: 'releases',
    modes,
    title,
    refusedBy: 'broker',
    at,
    run: async (_world, rig) => brokerOutcome(rig, otherwise, await ask(rig)),
  };
}

export const releaseAttacks: readonly BrokerAttack[] = [
  asking(
    'measurement-not-known-any-more',
    'A machine asks for a secret whose measurement the newest reference values leave out',
    'demand.measurement',
    'a secret for software that was withdrawn',
    async (rig) => {
      await publish(rig, { measurements: [{ value: toHex(new Uint8Array(48).fill(1)) }] });
      return (await attested(rig)).get(diskKey.path);
    },
  ),
  asking(
    'reference-values-over',
    'A machine asks for a secret after the period of the reference values that know it',
    'demand.reference-validity',
    'a secret for software that nobody vouches for',
    async (rig) => {
      await publish(rig, { notAfter: new Date(Date.now() + 60_000).toISOString() });
      rig.pass(61_000);
      return (await attested(rig)).get(diskKey.path);
    },
  ),
  asking(
    'less-privileged-software',
    'Software at VMPL1 of the right machine attests, and asks for the machine’s secret',
    'demand.vmpl',
    'a secret of VMPL0’s',
    async (rig) => (await attested(rig, { vmpl: 1 })).get(diskKey.path),
  ),
  asking(
    'one-time-secret-again',
    'A second client asks for a one-time secret that the first one has had',
    'resource.used-up',
    'one secret under two keys',
    async (rig) => {
      await rig.store(once.path, once.content, { releases: 1 });
      const [first, second] = [await attested(rig), await attested(rig)];
      required(await first.get(once.path));
      return second.get(once.path);
    },
  ),
  asking(
    'one-time-secret-at-two-replicas',
    'Two clients ask two replicas for a one-time secret at the same instant',
    'resource.used-up',
    'one secret under two keys',
    async (rig) => {
      await rig.store(once.path, once.content, { releases: 1 });
      const [first, second] = [await attested(rig), await attested(rig)];
      const other = await rig.open();
      const answers = await Promise.all([first.get(once.path), second.get(once.path, other)]);
      const [released, refused] = answers.toSorted((a, b) => a.status - b.status);
      required(released!);
      return refused!;
    },
  ),
  asking(
    'path-escaped',
    'A client spells a secret’s path with an escape, so that a filter on the way sees another path',
    'InvalidRequestPath',
    'a secret past a filter',
    async (rig) => (await attested(rig)).get(diskKey.path.replace('disk', '%64isk')),
  ),
  asking(
    'members-twice',
    'A client names its key twice in its evidence, for two readers to see two keys',
    'AttestationError',
    'a session for whichever key was read',
    async (rig) => {
      const [guest, other] = [await rig.guest(), await rig.guest()];
      const { cookie, nonce } = await guest.challenge();
      const evidence = await guest.evidence(nonce);
      const member = `"tee-pubkey":${JSON.stringify(other.key.publicKey)},"tee-pubkey":`;
      return guest.attest(cookie, evidence.replace('"tee-pubkey":', member));
    },
  ),
  asking(
    'evidence-too-large',
    'A client sends more than two mebibytes of evidence',
    'status 413',
    'a broker that reads on',
    async (rig) => {
      const guest = await rig.guest();
      const { cookie } = await guest.challenge();
      return guest.attest(cookie, `"${'a'.repeat(2 * 1024 * 1024)}"`);
    },
  ),
];

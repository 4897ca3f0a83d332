import { toHex } from '@vouchsafe/sev';
import type { BrokerAttack } from '../attack.js';
import { brokerOutcome, required } from './answers.js';
import type { EvidenceChanges } from './guest.js';
import { type BrokerRig, diskKey } from './world.js';

/** A machine that has attested, and what it asks for beyond what is meant for it. */

const flow = 'releases';
const modes = ['broker'] as const;
const refusedByBroker = { flow, modes, refusedBy: 'broker' } as const;
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

export const releaseAttacks: readonly BrokerAttack[] = [
  {
    ...refusedByBroker,
    id: 'measurement-not-known-any-more',
    title: 'A machine asks for a secret whose measurement the newest reference values leave out',
    at: 'demand.measurement',
    async run(_world, rig) {
      await publish(rig, { measurements: [{ value: toHex(new Uint8Array(48).fill(1)) }] });
      const { get } = await attested(rig);
      return brokerOutcome(rig, 'a secret for software that was withdrawn', await get(diskKey.path));
    },
  },
  {
    ...refusedByBroker,
    id: 'reference-values-over',
    title: 'A machine asks for a secret after the period of the reference values that know it',
    at: 'demand.reference-validity',
    async run(_world, rig) {
      await publish(rig, { notAfter: new Date(Date.now() + 60_000).toISOString() });
      rig.pass(61_000);
      const { get } = await attested(rig);
      return brokerOutcome(rig, 'a secret for software that nobody vouches for', await get(diskKey.path));
    },
  },
  {
    ...refusedByBroker,
    id: 'less-privileged-software',
    title: 'Software at VMPL1 of the right machine attests, and asks for the machine’s secret',
    at: 'demand.vmpl',
    async run(_world, rig) {
      const { get } = await attested(rig, { vmpl: 1 });
      return brokerOutcome(rig, 'a secret of VMPL0’s', await get(diskKey.path));
    },
  },
  {
    ...refusedByBroker,
    id: 'one-time-secret-again',
    title: 'A second client asks for a one-time secret that the first one has had',
    at: 'resource.used-up',
    async run(_world, rig) {
      await rig.store(once.path, once.content, { releases: 1 });
      const [first, second] = [await attested(rig), await attested(rig)];
      required(await first.get(once.path));
      return brokerOutcome(rig, 'one secret under two keys', await second.get(once.path));
    },
  },
  {
    ...refusedByBroker,
    id: 'one-time-secret-at-two-replicas',
    title: 'Two clients ask two replicas for a one-time secret at the same instant',
    at: 'resource.used-up',
    async run(_world, rig) {
      await rig.store(once.path, once.content, { releases: 1 });
      const [first, second] = [await attested(rig), await attested(rig)];
      const other = await rig.open();
      const answers = await Promise.all([first.get(once.path), second.get(once.path, other)]);
      const [released, refused] = answers.toSorted((a, b) => a.status - b.status);
      required(released!);
      return brokerOutcome(rig, 'one secret under two keys', refused!);
    },
  },
  {
    ...refusedByBroker,
    id: 'path-escaped',
    title: 'A client spells a secret’s path with an escape, so that a filter on the way sees another path',
    at: 'InvalidRequestPath',
    async run(_world, rig) {
      const { get } = await attested(rig);
      const answer = await get(diskKey.path.replace('disk', '%64isk'));
      return brokerOutcome(rig, 'a secret past a filter', answer);
    },
  },
  {
    ...refusedByBroker,
    id: 'members-twice',
    title: 'A client names its key twice in its evidence, for two readers to see two keys',
    at: 'AttestationError',
    async run(_world, rig) {
      const [guest, other] = [await rig.guest(), await rig.guest()];
      const { cookie, nonce } = await guest.challenge();
      const evidence = await guest.evidence(nonce);
      const member = `"tee-pubkey":${JSON.stringify(other.key.publicKey)},"tee-pubkey":`;
      const answer = await guest.attest(cookie, evidence.replace('"tee-pubkey":', member));
      return brokerOutcome(rig, 'a session for whichever key was read', answer);
    },
  },
  {
    ...refusedByBroker,
    id: 'evidence-too-large',
    title: 'A client sends more than two mebibytes of evidence',
    at: 'status 413',
    async run(_world, rig) {
      const guest = await rig.guest();
      const { cookie } = await guest.challenge();
      const answer = await guest.attest(cookie, `"${'a'.repeat(2 * 1024 * 1024)}"`);
      return brokerOutcome(rig, 'a broker that reads on', answer);
    },
  },
];

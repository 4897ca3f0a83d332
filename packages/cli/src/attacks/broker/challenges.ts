import { initDataText } from '@vouchsafe/protocol';
import { amdEndorsementRoots, snpReports } from '@vouchsafe/sev';
import type { BrokerAttack, Outcome } from '../attack.js';
import { flipped } from '../interfering-host.js';
import type { Answer } from './answers.js';
import { brokerOutcome } from './outcome.js';
import type { BrokerRig } from './world.js';

/** Who answers a challenge, with what, and how often: on the host's network, where every message can be kept and altered. */

const modes = ['broker'] as const;
const minute = 60_000;

/** An answer to a challenge that the broker must not take. */
function answering(
  id: string,
  title: string,
  at: string,
  answer: (rig: BrokerRig) => Promise<Answer>,
): BrokerAttack {
  return {
    id,
    flow: 'challenges and evidence',
    modes,
    title,
    refusedBy: 'broker',
    at,
    run: async (_world, rig): Promise<Outcome> =>
      brokerOutcome(rig, 'a session in the guest’s name', await answer(rig)),
  };
}

export const challengeAttacks: readonly BrokerAttack[] = [
  answering(
    'challenge-answered-twice',
    'The host answers a challenge that the guest has answered, with other evidence',
    'challenge.unused',
    async (rig) => {
      const guest = await rig.guest();
      const { cookie, nonce } = await guest.attested();
      return guest.attest(cookie, await guest.evidence(nonce));
    },
  ),
  answering(
    'challenge-answered-at-another-replica',
    'The host takes other evidence for an answered challenge to a second replica of the broker',
    'challenge.unused',
    async (rig) => {
      const guest = await rig.guest();
      const { cookie, nonce } = await guest.attested();
      return guest.attest(cookie, await guest.evidence(nonce), await rig.open());
    },
  ),
  answering(
    'challenge-of-another-session',
    'The host puts the evidence for one challenge into another session',
    'challenge.nonce',
    async (rig) => {
      const guest = await rig.guest();
      const { nonce } = await guest.challenge();
      const { cookie } = await guest.challenge();
      return guest.attest(cookie, await guest.evidence(nonce));
    },
  ),
  answering(
    'challenge-answered-late',
    'The host keeps the answer to a challenge back until the session is over',
    'challenge.unexpired',
    async (rig) => {
      const guest = await rig.guest();
      const { cookie, nonce } = await guest.challenge();
      rig.pass(5 * minute);
      return guest.attest(cookie, await guest.evidence(nonce));
    },
  ),
  answering(
    'guest-key-swapped',
    'The host puts a key of its own in the place of the guest’s, beside the guest’s report',
    'report.data',
    async (rig) => {
      const [guest, host] = [await rig.guest(), await rig.guest()];
      const { cookie, nonce } = await guest.challenge();
      const bound = { 'tee-pubkey': guest.key.publicKey };
      return host.attest(cookie, await host.evidence(nonce, { bound }));
    },
  ),
  answering(
    'report-of-another-challenge',
    'The host answers a new challenge with the report that answered an old one',
    'report.data',
    async (rig) => {
      const guest = await rig.guest();
      const [older, { cookie, nonce }] = [await guest.challenge(), await guest.challenge()];
      return guest.attest(cookie, await guest.evidence(nonce, { bound: { nonce: older.nonce } }));
    },
  ),
  answering(
    'init-data-swapped',
    'The host sends other init-data to the broker than the ones that the guest was launched with',
    'report.host-data',
    async (rig) => {
      const guest = await rig.guest();
      const { cookie, nonce } = await guest.challenge();
      const initData = initDataText({ 'aa.toml': 'setting = "the host’s"\n' });
      return guest.attest(cookie, await guest.evidence(nonce, { initData }));
    },
  ),
  answering(
    'report-altered-on-the-way',
    'The host changes one bit of the measurement in a report that the guest sends',
    'report.signature',
    async (rig) => {
      const guest = await rig.guest();
      const { cookie, nonce } = await guest.challenge();
      const report = (bytes: Uint8Array) => flipped(bytes, snpReports.v5.offsetOf('measurement'));
      return guest.attest(cookie, await guest.evidence(nonce, { report }));
    },
  ),
  answering(
    'software-at-amd-broker',
    'The host runs the guest on a software processor, before a broker that trusts AMD’s roots',
    'endorsement.ark.root',
    async (rig) => {
      const strict = await rig.open({ roots: amdEndorsementRoots });
      const guest = await rig.guest();
      const { cookie, nonce } = await guest.challenge(strict);
      return guest.attest(cookie, await guest.evidence(nonce), strict);
    },
  ),
];

import {
  describeStatus,
  guestMessageHeader,
  isZero,
  parseFirmwareFooter,
  reportRequest,
  sealGuestMessage,
  secretsPage,
  snpSectionTypes,
  statusName,
  toHex,
} from '@vouchsafe/sev';
import type { Outcome, SnpAttack } from '../attack.js';
import { flipped } from '../interfering-host.js';
import { guestOutcome } from '../outcome.js';
import { images } from '../sev/world.js';
import { type Carried, type Carrier, carry, withheld } from './meddling.js';
import { type BootedSnpGuest, freshData, type SnpRig } from './world.js';

/** The guest's messages to the processor and back go through the host, who may do anything with them but read them. */

const modes = ['snp'] as const;

export const ask = ({ snp }: BootedSnpGuest) =>
  snp.channel.request({
    type: 'REPORT_REQ',
    payload: reportRequest.build({ reportData: freshData, vmpl: 0 }),
  });

/** Lets a guest talk while the host does as the carrier says: who notices? */
async function whileCarrying(
  rig: SnpRig,
  carrier: Carrier,
  otherwise: string,
  talk: () => Promise<unknown>,
): Promise<Outcome> {
  let last: number | undefined;
  carry(rig, (message, toFirmware) =>
    carrier(message, async (...given) => {
      const carried = await toFirmware(...given);
      last = carried.status;
      return carried;
    }),
  );
  const outcome = await guestOutcome(otherwise, talk);
  if (outcome.at !== 'firmware-error' || last === undefined || last === 0) return outcome;
  const evidence = `SNP_GUEST_REQUEST answered ${describeStatus(last).text}; the guest wiped its key`;
  return { refusedBy: 'processor', at: statusName(last) ?? 'unknown status', evidence };
}

function hostileCarrier(
  id: string,
  title: string,
  [refusedBy, at]: readonly ['processor' | 'guest', string],
  otherwise: string,
  carrierFor: (rig: SnpRig, guest: BootedSnpGuest) => Promise<Carrier>,
): SnpAttack {
  return {
    id,
    flow: 'guest messages',
    modes,
    title,
    refusedBy,
    at,
    async run(_world, rig) {
      const guest = await rig.boot();
      const carrier = await carrierFor(rig, guest);
      return whileCarrying(rig, carrier, otherwise, () => ask(guest));
    },
  };
}

/** What the host keeps of one exchange that it carried honestly. */
async function recorded(
  rig: SnpRig,
  guest: BootedSnpGuest,
): Promise<{ message: Uint8Array; response: Carried }> {
  let kept: { message: Uint8Array; response: Carried } | undefined;
  carry(rig, async (message, toFirmware) => {
    const response = await toFirmware(message);
    kept = { message, response };
    return response;
  });
  await ask(guest);
  if (kept === undefined) throw new TypeError('the guest said nothing');
  return kept;
}

export const guestMessageAttacks: readonly SnpAttack[] = [
  hostileCarrier(
    'message-altered',
    'The host changes one bit of the guest’s message',
    ['processor', 'BAD_MEASUREMENT'],
    'an answer to a question that the guest did not ask',
    async () => (message, toFirmware) => toFirmware(flipped(message, 0x60)),
  ),
  hostileCarrier(
    'message-replayed',
    'The host gives the same message to the processor twice',
    ['processor', 'INVALID_PARAM'],
    'two answers, under one number',
    async () => async (message, toFirmware) => {
      await toFirmware(message);
      return toFirmware(message);
    },
  ),
  hostileCarrier(
    'message-out-of-the-past',
    'The host gives the processor an earlier message in place of the present one',
    ['processor', 'INVALID_PARAM'],
    'an answer to an old question',
    async (rig, guest) => {
      const { message: old } = await recorded(rig, guest);
      return (_message, toFirmware) => toFirmware(old);
    },
  ),
  {
    id: 'messages-reordered',
    flow: 'guest messages',
    modes,
    title: 'The host holds a message back and gives the next one to the processor first',
    refusedBy: 'processor',
    at: 'INVALID_PARAM',
    async run(_world, rig) {
      const { snp } = await rig.boot();
      const [key] = snp.lowerKeys;
      const payload = reportRequest.build({ reportData: freshData, vmpl: 1 });
      const sealed = (sequence: bigint) =>
        sealGuestMessage({ key, vmpck: 1, sequence, type: 'REPORT_REQ', payload });
      const held: Uint8Array[] = [];
      const statuses: number[] = [];
      // A driver never sends the second before it has the answer to the first: this guest is not so careful.
      carry(rig, async (message, toFirmware) => {
        held.push(message);
        const [first, second] = held;
        if (second === undefined) return withheld;
        statuses.push((await toFirmware(second)).status);
        statuses.push((await toFirmware(first!)).status);
        return withheld;
      });
      await snp.transport.exchange(await sealed(1n), false);
      await snp.transport.exchange(await sealed(3n), false);
      const [status, inOrder] = statuses;
      if (inOrder !== 0) throw new TypeError('the processor refuses the message that is next');
      return status === undefined || status === 0
        ? { refusedBy: 'nobody', at: 'answers in another order', evidence: 'the processor answered' }
        : {
            refusedBy: 'processor',
            at: statusName(status) ?? 'unknown status',
            evidence: `SNP_GUEST_REQUEST answered ${describeStatus(status).text}`,
          };
    },
  },
  hostileCarrier(
    'message-relabelled',
    'The host says of a message that it is under the key of another privilege level',
    ['processor', 'BAD_MEASUREMENT'],
    'an answer for another privilege level',
    async () => (message, toFirmware) => toFirmware(message.with(guestMessageHeader.offsetOf('vmpck'), 1)),
  ),
  hostileCarrier(
    'message-of-another-guest',
    'The host gives a guest’s message to the processor as another guest’s',
    ['processor', 'BAD_MEASUREMENT'],
    'one guest’s report for the other',
    async (rig) => {
      const other = await rig.boot();
      return (message, toFirmware) => toFirmware(message, other.vm.gctxAddress);
    },
  ),
  hostileCarrier(
    'message-of-an-earlier-launch',
    'The host gives the processor the first message of an earlier launch of the same guest',
    ['processor', 'BAD_MEASUREMENT'],
    'an answer to a guest that is gone',
    async (rig) => {
      const earlier = await rig.boot();
      const { message: old } = await recorded(rig, earlier);
      await earlier.vm.quit();
      return (_message, toFirmware) => toFirmware(old);
    },
  ),
  hostileCarrier(
    'response-withheld',
    'The host keeps the response and says that all is well',
    ['guest', 'wrong-response'],
    'a guest that takes nothing for an answer',
    async () => async (message, toFirmware) => {
      await toFirmware(message);
      return withheld;
    },
  ),
  hostileCarrier(
    'response-replayed',
    'The host gives the guest the response to an earlier message',
    ['guest', 'wrong-response'],
    'an old report on a new question',
    async (rig, guest) => {
      const { response: old } = await recorded(rig, guest);
      return async (message, toFirmware) => {
        await toFirmware(message);
        return old;
      };
    },
  ),
  hostileCarrier(
    'response-altered',
    'The host changes one bit of the response',
    ['guest', 'altered-response'],
    'a report that the processor did not make',
    async () => async (message, toFirmware) => {
      const { status, response } = await toFirmware(message);
      return { status, response: flipped(response, 0x80) };
    },
  ),
  hostileCarrier(
    'response-of-another-guest',
    'The host gives the guest the response that another guest got, under the same number',
    ['guest', 'altered-response'],
    'one guest’s report for the other',
    async (rig) => {
      const { response } = await recorded(rig, await rig.boot());
      return async () => response;
    },
  ),
  {
    id: 'messages-read',
    flow: 'guest messages',
    modes,
    title: 'The host reads the messages that it carries',
    refusedBy: 'harmless',
    at: 'ciphertext',
    async run(_world, rig) {
      const guest = await rig.boot();
      const { message, response } = await recorded(rig, guest);
      const wire = toHex(message) + toHex(response.response);
      const evidence = `the host reads ${toHex(message.subarray(0x60, 0x68))}… and ${toHex(response.response.subarray(0x60, 0x68))}…`;
      return wire.includes(toHex(freshData.subarray(0, 16)))
        ? { refusedBy: 'nobody', at: 'what the guest says', evidence }
        : { refusedBy: 'harmless', at: 'ciphertext', evidence };
    },
  },
  {
    id: 'secrets-page-read-again',
    flow: 'guest messages',
    modes,
    title: 'Whoever takes over a guest later reads its secrets page again, for the keys of its messages',
    refusedBy: 'harmless',
    at: 'zeros',
    async run(_world, rig) {
      const { view } = await rig.boot();
      const { sections = [] } = parseFirmwareFooter(images.firmware).sevMetadata ?? {};
      const section = sections.find(({ type }) => type === snpSectionTypes.SECRETS);
      const page = await view.readPrivate(section?.gpa ?? 0, secretsPage.size);
      return isZero(page)
        ? {
            refusedBy: 'harmless',
            at: 'zeros',
            evidence: 'the firmware wiped the page when it took the keys',
          }
        : { refusedBy: 'nobody', at: 'the keys of guest messages', evidence: 'the page is not empty' };
    },
  },
  {
    id: 'message-headers-read',
    flow: 'guest messages',
    modes,
    title: 'The host reads the headers of the messages that it carries',
    refusedBy: 'nobody',
    at: 'when the guest asks for reports and when for keys, and how many',
    limit: {
      why: 'type, length and number of a message are authenticated and not encrypted',
      caughtBy: 'nobody, and it tells little: a guest whose requests are a secret makes them at fixed times',
    },
    async run(_world, rig) {
      const guest = await rig.boot();
      const seen: string[] = [];
      carry(rig, (message, toFirmware) => {
        const { type, sequence, size } = guestMessageHeader.parseAt(message, 0);
        seen.push(`${type} number ${sequence} of ${size} bytes`);
        return toFirmware(message);
      });
      await ask(guest);
      const key = await guest.attestation.deriveKey({ root: 'VEK', fields: {} });
      key.zero();
      const learned = seen[0]?.startsWith('REPORT_REQ') && seen[1]?.startsWith('KEY_REQ');
      return {
        refusedBy: learned ? 'nobody' : 'harmless',
        at: learned ? 'when the guest asks for reports and when for keys, and how many' : 'nothing',
        evidence: `the host sees ${seen.join(', ')}`,
      };
    },
  },
  {
    id: 'service-withheld',
    flow: 'guest messages',
    modes,
    title: 'The host says that the processor refused a message, which it answered',
    refusedBy: 'nobody',
    at: 'a guest without reports and keys, until it is launched again',
    limit: {
      why: 'the host carries the messages, as it gives the guest time and memory: it can always stop',
      caughtBy:
        'the guest wipes its key instead of sending another message under the same number, and whoever waits for its report gets none: nothing leaks',
    },
    async run(_world, rig) {
      const guest = await rig.boot();
      carry(rig, async (message, toFirmware) => ({ ...(await toFirmware(message)), status: 3 }));
      await ask(guest).catch(() => undefined);
      carry(rig, (message, toFirmware) => toFirmware(message));
      const outcome = await guestOutcome('reports all the same', () => ask(guest));
      return outcome.at === 'key-wiped'
        ? {
            refusedBy: 'nobody',
            at: 'a guest without reports and keys, until it is launched again',
            evidence: outcome.evidence,
          }
        : { refusedBy: 'harmless', at: 'a report all the same', evidence: outcome.evidence };
    },
  },
];

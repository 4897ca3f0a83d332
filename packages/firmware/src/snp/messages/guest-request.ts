import {
  GuestMessageTagError,
  type GuestMessageType,
  guestMessageHeader,
  guestMessageSize,
  openGuestMessage,
  responseTypeOf,
  sealGuestMessage,
  snpGuestRequestBuffer,
} from '@vouchsafe/sev';
import { refuse, refuseUnless } from '../../processor/command-refusal.js';
import type { SnpCall } from '../commands/command-handlers.js';
import type { SnpGuestIdentity, SnpLaunch } from '../guest-contexts.js';
import type { SnpFirmware } from '../snp-firmware.js';
import { parsedOrRefused } from '../snp-request.js';
import { answerCpuid } from './cpuid-request.js';
import { answerKey } from './key-request.js';
import { answerReport } from './report-request.js';
import { answerTscInfo } from './tsc-info-request.js';

/** Who asks, and what with. */
export interface GuestMessage {
  readonly firmware: SnpFirmware;
  readonly chip: SnpCall['processor']['chip'];
  readonly launch: SnpLaunch;
  readonly identity: SnpGuestIdentity;
  /** The key that the message came under: it speaks for this privilege level and those above in number. */
  readonly vmpck: number;
  readonly version: number;
  readonly payload: Uint8Array;
}

interface MessageHandler {
  /** Versions of the message, with whether a payload may have this length. */
  readonly versions: Readonly<Record<number, (length: number) => boolean>>;
  /** The payload of the response. Whatever STATUS it carries, the exchange took place. */
  answer(message: GuestMessage): Promise<Uint8Array>;
}

const exactly = (size: number) => (length: number) => length === size;

const handlers: Partial<Record<GuestMessageType, MessageHandler>> = {
  CPUID_REQ: { versions: { 1: (length) => length >= 16 && (length - 16) % 48 === 0 }, answer: answerCpuid },
  KEY_REQ: { versions: { 1: exactly(32), 2: exactly(40) }, answer: answerKey },
  REPORT_REQ: { versions: { 1: exactly(96) }, answer: answerReport },
  TSC_INFO_REQ: { versions: { 1: exactly(128) }, answer: answerTscInfo },
};

/** Requests of migration agents have their place here, and come with migration. */
const later: readonly GuestMessageType[] = [
  'EXPORT_REQ',
  'IMPORT_REQ',
  'ABSORB_REQ',
  'VMRK_REQ',
  'ABSORB_NOMA_REQ',
];

/**
 * Takes a message of a guest from one page and puts the answer into another. The host that carries them cannot read,
 * change, repeat or reorder them: whatever is wrong with one, the guest's counters stay where they are.
 */
export async function snpGuestRequest({ firmware, processor, request }: SnpCall): Promise<void> {
  const command = request.command(snpGuestRequestBuffer);
  const from = request.page(command.requestAddress);
  const to = request.page(command.responseAddress);
  const { guests, reverseMap } = firmware.session;
  const { launched: launch } = guests.admit('SNP_GUEST_REQUEST', request.page(command.gctxAddress));
  const identity = launch.identity ?? refuse('INVALID_GUEST_STATE');
  refuseUnless(reverseMap.state(to) === 'Firmware', 'INVALID_PAGE_STATE');
  refuseUnless(reverseMap.entry(to).size === '4K', 'INVALID_PAGE_SIZE');

  const bytes = request.take(BigInt(from), guestMessageSize);
  const { vmpck, type, version, size, notes } = parsedOrRefused(() => guestMessageHeader.parseAt(bytes, 0));
  refuseUnless(notes.length === 0, 'INVALID_PARAM');
  const key = launch.messageKeys[vmpck] ?? refuse('INVALID_PARAM');
  const count = launch.messageCounts[vmpck]!;
  if (later.includes(type)) refuse('UNSUPPORTED');
  const handler = handlers[type] ?? refuse('INVALID_PARAM');
  const fits = handler.versions[version] ?? refuse('INVALID_PARAM');
  refuseUnless(fits(size), 'INVALID_PARAM');
  const opened = await opening(() => openGuestMessage({ key, vmpck, bytes, sequence: count + 1n }));
  refuseUnless(count + 2n < 1n << 64n, 'AEAD_OFLOW');

  const { payload } = opened;
  const { chip } = processor;
  const answer = await handler.answer({ firmware, chip, launch, identity, vmpck, version, payload });
  const response = await sealGuestMessage({
    key,
    vmpck,
    sequence: count + 2n,
    type: responseTypeOf(type) ?? refuse('INVALID_PARAM'),
    version,
    payload: answer,
  });
  for (const secret of [payload, answer]) secret.fill(0);
  launch.messageCounts[vmpck] = count + 2n;
  processor.memory.write(to, response);
}

/** A header that is not the next one is INVALID_PARAM, a tag that does not fit BAD_MEASUREMENT. */
async function opening<T>(open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    if (error instanceof GuestMessageTagError) refuse('BAD_MEASUREMENT');
    return parsedOrRefused(() => {
      throw error;
    });
  }
}

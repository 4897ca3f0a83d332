import { aes256GcmOpen, aes256GcmSeal } from '../crypto/index.js';
import { InvalidArgumentError, MalformedError, VouchsafeError } from '../errors.js';
import { openSecret, type Secret } from '../secret.js';
import {
  type GuestMessageType,
  guestMessageAuthenticatedFrom,
  guestMessageHeader,
  guestMessagePayloadLimit,
  guestMessageSize,
} from './header.js';

/**
 * A guest message whose header is what was expected, and whose tag is not: another key, or bytes that were changed on
 * their way. Firmware answers it with BAD_MEASUREMENT; a header that is wrong (MalformedError) with INVALID_PARAM.
 */
export class GuestMessageTagError extends VouchsafeError {
  readonly code = 'guest-message-tag';

  constructor() {
    super('guest message: the authentication tag does not fit', {
      hint: 'it was altered on its way, or was made with another key',
    });
  }
}

export interface GuestMessageChannel {
  /** The VMPCK, 32 bytes. */
  readonly key: Secret;
  /** Which VMPCK it is, 0 to 3. */
  readonly vmpck: number;
  /** Of this message: the firmware's counter plus 1 in requests, plus 2 in responses. Never 0. */
  readonly sequence: bigint;
}

export interface NewGuestMessage extends GuestMessageChannel {
  readonly type: GuestMessageType;
  /** Version of the payload; 1 when absent. */
  readonly version?: number | undefined;
  /** At most 4000 bytes. */
  readonly payload: Uint8Array;
}

/**
 * Encrypts and authenticates a guest message (SEV-SNP firmware ABI, guest messages). A sequence number is the nonce: the
 * same one must never protect two different messages.
 * @returns 4096 bytes, zero behind the payload
 * @throws InvalidArgumentError for a payload that is too long, another VMPCK than 0 to 3, or sequence number 0
 */
export async function sealGuestMessage(message: NewGuestMessage): Promise<Uint8Array> {
  const { key, vmpck, sequence, type, version = 1, payload } = message;
  requireVmpck(vmpck);
  if (sequence < 1n) throw new InvalidArgumentError('sequence', 'guest messages are numbered from 1 on');
  if (payload.length > guestMessagePayloadLimit) {
    throw new InvalidArgumentError('payload', `longer than ${guestMessagePayloadLimit} bytes`);
  }
  const header = { sequence, type, version, size: payload.length, vmpck };
  const page = new Uint8Array(guestMessageSize);
  page.set(guestMessageHeader.build({ ...header, authTag: new Uint8Array(16) }));
  const { ciphertext, tag } = await aes256GcmSeal(
    openSecret(key),
    ivOf(sequence),
    page.subarray(guestMessageAuthenticatedFrom, guestMessageHeader.size),
    payload,
  );
  page.set(ciphertext, guestMessageHeader.size);
  page.set(tag);
  return page;
}

export interface SealedGuestMessage extends GuestMessageChannel {
  /** What this message must be; any type when absent. */
  readonly type?: GuestMessageType | undefined;
  /** What version its payload must have; any when absent. */
  readonly version?: number | undefined;
  /** 4096 bytes; what follows the payload is not looked at. */
  readonly bytes: Uint8Array;
}

export interface OpenedGuestMessage {
  readonly type: GuestMessageType;
  readonly version: number;
  readonly payload: Uint8Array;
}

/**
 * Checks and decrypts a guest message.
 * @throws MalformedError for another length, and a header that is none or not the one that was expected
 * @throws GuestMessageTagError when the tag does not fit: nothing of the payload is given out
 */
export async function openGuestMessage(message: SealedGuestMessage): Promise<OpenedGuestMessage> {
  const { bytes, key, vmpck, sequence } = message;
  requireVmpck(vmpck);
  if (bytes.length !== guestMessageSize) refuse('length', 0, guestMessageSize, bytes.length);
  const header = guestMessageHeader.parseAt(bytes, 0);
  const expected = { vmpck, sequence, type: message.type, version: message.version } as const;
  for (const field of ['vmpck', 'sequence', 'type', 'version'] as const) {
    const wanted = expected[field];
    if (wanted !== undefined && header[field] !== wanted) {
      refuse(field, guestMessageHeader.offsetOf(field), wanted, header[field]);
    }
  }
  const { size, type, version } = header;
  if (size > guestMessagePayloadLimit) {
    refuse('size', guestMessageHeader.offsetOf('size'), `at most ${guestMessagePayloadLimit}`, size);
  }
  const payload = await aes256GcmOpen(
    openSecret(key),
    ivOf(sequence),
    header.raw.subarray(guestMessageAuthenticatedFrom),
    bytes.subarray(guestMessageHeader.size, guestMessageHeader.size + size),
    header.authTag,
  );
  if (payload === undefined) throw new GuestMessageTagError();
  return { type, version, payload };
}

/** 8 bytes of the sequence number, little-endian, and 4 zero bytes. */
function ivOf(sequence: bigint): Uint8Array {
  const iv = new Uint8Array(12);
  new DataView(iv.buffer).setBigUint64(0, sequence, true);
  return iv;
}

function requireVmpck(vmpck: number): void {
  if (![0, 1, 2, 3].includes(vmpck)) throw new InvalidArgumentError('vmpck', 'expected 0, 1, 2 or 3');
}

function refuse(
  field: string,
  offset: number,
  expected: string | number | bigint,
  found: string | number | bigint,
): never {
  const { name: structure } = guestMessageHeader;
  throw new MalformedError({ structure, field, offset, expected: String(expected), found: String(found) });
}

import { bytesField, named, reserved, u8, u16, u64 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';

/** What a guest and the firmware say to each other; a response is its request plus one. */
export const guestMessageTypes = {
  CPUID_REQ: 1,
  CPUID_RSP: 2,
  KEY_REQ: 3,
  KEY_RSP: 4,
  REPORT_REQ: 5,
  REPORT_RSP: 6,
  EXPORT_REQ: 7,
  EXPORT_RSP: 8,
  IMPORT_REQ: 9,
  IMPORT_RSP: 10,
  ABSORB_REQ: 11,
  ABSORB_RSP: 12,
  VMRK_REQ: 13,
  VMRK_RSP: 14,
  ABSORB_NOMA_REQ: 15,
  ABSORB_NOMA_RSP: 16,
  TSC_INFO_REQ: 17,
  TSC_INFO_RSP: 18,
} as const;
export type GuestMessageType = keyof typeof guestMessageTypes;

/** The response that belongs to a request; undefined for a message that is itself a response. */
export function responseTypeOf(request: GuestMessageType): GuestMessageType | undefined {
  const wanted = guestMessageTypes[request] + 1;
  if (wanted % 2 === 1) return undefined;
  return (Object.keys(guestMessageTypes) as GuestMessageType[]).find(
    (name) => guestMessageTypes[name] === wanted,
  );
}

/**
 * The head of a guest message. From offset 0x30 on it is authenticated, not encrypted. Firmware leaves reserved bytes of
 * its responses dirty, so they are reported and not refused.
 */
export const guestMessageHeader = structure(
  { name: 'guest message', size: 0x60, source: 'SEV-SNP firmware ABI, guest messages' },
  {
    authTag: bytesField(0x00, 16, 'tag of AES-256-GCM over the rest of the header and the payload'),
    reserved10: reserved(0x10, 16, 'report'),
    sequence: u64(0x20, 'sequence number: odd for requests, the next even one for the response'),
    reserved28: reserved(0x28, 8, 'report'),
    algorithm: named(0x30, 1, { 'AES-256-GCM': 1 }, 'how the message is protected', {
      default: 'AES-256-GCM',
    }),
    headerVersion: u8(0x31, 'version of this header', { equals: 1 }),
    headerSize: u16(0x32, 'length of this header', { equals: 0x60, unit: 'bytes' }),
    type: named(0x34, 1, guestMessageTypes, 'what the payload is'),
    version: u8(0x35, 'version of the payload', { default: 1 }),
    size: u16(0x36, 'length of the payload', { unit: 'bytes' }),
    reserved38: reserved(0x38, 4, 'report'),
    vmpck: u8(0x3c, 'which of the four keys VMPCK0 to VMPCK3 protects the message'),
    reserved3d: reserved(0x3d, 35, 'report'),
  },
);

/** Where the authenticated part of the header begins. */
export const guestMessageAuthenticatedFrom = 0x30;
/** Bytes of a guest message: one page. */
export const guestMessageSize = 4096;
/** The longest payload, in bytes. */
export const guestMessagePayloadLimit: number = guestMessageSize - guestMessageHeader.size;

/** STATUS inside the payload of a response. Whatever it says, the exchange as such took place. */
export const guestMessageStatus = {
  SUCCESS: 0,
  /** The request asks for something that its sender may not have, or sets reserved bits. */
  INVALID_PARAM: 0x16,
  /** The selected key is not there: no VLEK is loaded, or the VCEK was disabled at launch. */
  INVALID_KEY: 0x27,
} as const;
export type GuestMessageStatus = keyof typeof guestMessageStatus;

/** Name of a STATUS; undefined for numbers that this version does not know. */
export function guestMessageStatusName(status: number): GuestMessageStatus | undefined {
  return (Object.keys(guestMessageStatus) as GuestMessageStatus[]).find(
    (name) => guestMessageStatus[name] === status,
  );
}

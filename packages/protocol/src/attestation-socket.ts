import { z } from 'zod';
import { bytesMember, strictObject, textMember, unsignedMember } from './members.js';
import { message } from './message.js';

/**
 * What a program inside a guest and whoever holds its attestation device say to each other over a byte stream: a unix
 * socket, or a serial line of a virtual machine. Each message is one line of JSON, ended by a line feed; the answer
 * carries the number of its request. Derived keys cross the stream in plain text, so that only the guest may reach it.
 */

/** The longest line, in bytes, with its line feed. The longest answer is a certificate table of 64 KiB. */
export const attestationLineLimit = 128 * 1024;

const id = unsignedMember(32);
const vmpl = unsignedMember(8).max(3, { error: 'expected 0 to 3' });
const word = z.codec(
  z.string({ error: 'expected 0x and up to 16 hexadecimal digits' }).regex(/^0x[0-9a-f]{1,16}$/, {
    error: 'expected 0x and up to 16 hexadecimal digits',
  }),
  z.bigint(),
  { decode: (text) => BigInt(text), encode: (value) => `0x${value.toString(16)}` },
);
const flag = z.boolean({ error: 'expected true or false' });

/** Guest to device. */
export const attestationRequest = message(
  'attestation request',
  z.discriminatedUnion(
    'type',
    [
      strictObject({
        type: z.literal('report'),
        id,
        /** What the report is to carry. */
        reportData: bytesMember([64]),
        vmpl: vmpl.exactOptional(),
      }),
      strictObject({
        type: z.literal('key'),
        id,
        root: z.enum(['VEK', 'VMRK'], { error: 'expected "VEK" or "VMRK"' }),
        keySelection: z
          .enum(['VLEK-or-VCEK', 'VCEK', 'VLEK'], { error: 'expected "VLEK-or-VCEK", "VCEK" or "VLEK"' })
          .exactOptional(),
        /** What of the guest the key depends on. */
        fields: strictObject({
          policy: flag,
          imageId: flag,
          familyId: flag,
          measurement: flag,
          guestSvn: flag,
          tcbVersion: flag,
          launchMitigationVector: flag,
        }),
        vmpl: vmpl.exactOptional(),
        guestSvn: unsignedMember(32).exactOptional(),
        tcbVersion: word.exactOptional(),
        launchMitigationVector: word.exactOptional(),
      }),
    ],
    { error: 'expected "report" or "key"' },
  ),
);
export type AttestationRequest = ReturnType<typeof attestationRequest.parse>;

/** Device to guest. A failure without a number answers a line in which none could be read. */
export const attestationAnswer = message(
  'attestation answer',
  z.discriminatedUnion(
    'type',
    [
      strictObject({
        type: z.literal('report'),
        id,
        report: bytesMember([1184]),
        /** The host's certificate table, as it is. */
        certificateTable: bytesMember({ least: 1, greatest: 0x1_0000, multipleOf: 1 }).exactOptional(),
      }),
      strictObject({ type: z.literal('key'), id, key: bytesMember([32]) }),
      strictObject({
        type: z.literal('failure'),
        id: id.exactOptional(),
        /** `code` of the error, as the classes of errors have it. */
        code: textMember(64),
        message: textMember(1024),
        /** STATUS of the firmware's response, where it was that which refused. */
        status: unsignedMember(32).exactOptional(),
        hint: textMember(1024).exactOptional(),
      }),
    ],
    { error: 'expected "report", "key" or "failure"' },
  ),
);
export type AttestationAnswer = ReturnType<typeof attestationAnswer.parse>;

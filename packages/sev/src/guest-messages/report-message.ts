import { bitRange, bits } from '../codec/bits.js';
import { bitsField, bytesField, reserved, u32 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';

const source =
  'SEV-SNP firmware ABI, MSG_REPORT_REQ and MSG_REPORT_RSP; linux include/uapi/linux/sev-guest.h';
const reportSize = 0x4a0;

/** KEY_SEL: the key that signs a report or is the root of a derived key. */
export const endorsementKeySelections = {
  /** The VLEK when one is loaded, else the VCEK. */
  'VLEK-or-VCEK': 0,
  VCEK: 1,
  VLEK: 2,
} as const;
export type EndorsementKeySelection = keyof typeof endorsementKeySelections;

/** Payload of MSG_REPORT_REQ, 96 bytes. */
export const reportRequest = structure(
  { name: 'MSG_REPORT_REQ', size: 96, source },
  {
    reportData: bytesField(0x00, 64, 'what the report is to carry: a nonce or the digest of a key'),
    vmpl: u32(0x40, 'privilege level that the report is to name, 0 to 3, not above that of the key used'),
    flags: bitsField(
      0x44,
      bits(
        { name: 'MSG_REPORT_REQ.flags', width: 32, source, reserved: 'refuse' },
        { keySelection: bitRange(0, 2, 'KEY_SEL', '0 VLEK if loaded, else VCEK; 1 VCEK; 2 VLEK') },
      ),
      'who is to sign',
      { default: { keySelection: 0 } },
    ),
    reserved48: reserved(0x48, 24),
  },
);

/** Payload of MSG_REPORT_RSP, 1216 bytes. Without success the report is zero. */
export const reportResponse = structure(
  { name: 'MSG_REPORT_RSP', size: 0x20 + reportSize, source },
  {
    status: u32(0x00, '0 success, 0x16 invalid parameter, 0x27 no such key'),
    reportSize: u32(0x04, 'length of the report', { default: reportSize, unit: 'bytes' }),
    reserved08: reserved(0x08, 24, 'report'),
    report: bytesField(0x20, reportSize, 'the attestation report', { default: new Uint8Array(reportSize) }),
  },
);

import { bitRange, bits, flag } from '../codec/bits.js';
import { bitsField, bytesField, reserved, u32, u64 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';

const source = 'SEV-SNP firmware ABI, MSG_KEY_REQ and MSG_KEY_RSP; linux include/uapi/linux/sev-guest.h';

/** ROOT_KEY_SELECT: what a derived key comes from. The VCEK is the chip's, the VMRK goes with a guest that migrates. */
export const derivedKeyRoots = { VEK: 0, VMRK: 1 } as const;
export type DerivedKeyRoot = keyof typeof derivedKeyRoots;

/** First word of MSG_KEY_REQ. */
export const keyRootBits = bits(
  { name: 'MSG_KEY_REQ.root', width: 32, source, reserved: 'refuse' },
  {
    vmrk: flag(0, 'ROOT_KEY_SELECT', 'the VM root key, not the chip’s endorsement key'),
    keySelection: bitRange(1, 2, 'KEY_SEL', '0 VLEK if loaded, else VCEK; 1 VCEK; 2 VLEK'),
  },
);

/** GUEST_FIELD_SELECT: what of the guest the derived key depends on, beside its VMPL. */
export const guestFieldSelectBits = bits(
  { name: 'GUEST_FIELD_SELECT', width: 64, source, reserved: 'refuse' },
  {
    policy: flag(0, 'GUEST_POLICY', 'the guest policy'),
    imageId: flag(1, 'IMAGE_ID', 'the image id of the ID block'),
    familyId: flag(2, 'FAMILY_ID', 'the family id of the ID block'),
    measurement: flag(3, 'MEASUREMENT', 'the launch digest'),
    guestSvn: flag(4, 'GUEST_SVN', 'the security version that the request names'),
    tcbVersion: flag(5, 'TCB_VERSION', 'the TCB version that the request names'),
    launchMitigationVector: flag(
      6,
      'LAUNCH_MIT_VECTOR',
      'the mitigations that the request names (version 2)',
    ),
  },
);

const rows = {
  root: bitsField(0x00, keyRootBits, 'what the key comes from', {
    default: { vmrk: false, keySelection: 0 },
  }),
  reserved04: reserved(0x04, 4),
  fields: bitsField(0x08, guestFieldSelectBits, 'what of the guest the key depends on'),
  vmpl: u32(0x10, 'privilege level of the key, 0 to 3, not above that of the VMPCK used'),
  guestSvn: u32(0x14, 'security version of the key, at most that of the ID block', { default: 0 }),
  tcbVersion: bytesField(0x18, 8, 'TCB version of the key, in no component above the committed one', {
    default: new Uint8Array(8),
  }),
};

/** Payload of MSG_KEY_REQ by message version: 32 and 40 bytes. */
export const keyRequests = {
  v1: structure({ name: 'MSG_KEY_REQ, version 1', size: 32, source }, rows),
  v2: structure(
    { name: 'MSG_KEY_REQ, version 2', size: 40, source },
    {
      ...rows,
      launchMitigationVector: u64(0x20, 'mitigations of the key, a part of those at launch', {
        default: 0n,
      }),
    },
  ),
};

/** Payload of MSG_KEY_RSP, 64 bytes. Without success the key is zero. */
export const keyResponse = structure(
  { name: 'MSG_KEY_RSP', size: 64, source },
  {
    status: u32(0x00, '0 success, 0x16 invalid parameter, 0x27 no such key'),
    reserved04: reserved(0x04, 28, 'report'),
    key: bytesField(0x20, 32, 'the derived key', { default: new Uint8Array(32) }),
  },
);

/**
 * What a derived key depends on, besides its root: fields that are not selected are zero; HOST_DATA and the ID key always
 * count. AMD has not published its derivation. This is the block of its early tool header, with 48-byte digests, and the
 * mitigation vector of version 2 behind it; this project's machine derives from it, so keys are its own.
 */
export const derivedKeyContext = structure(
  { name: 'context of a derived key', size: 0xd0, source: 'AMDESE/sev-guest include/snp-derive-key.h' },
  {
    root: bitsField(0x00, keyRootBits, 'what the key comes from'),
    reserved04: reserved(0x04, 4),
    fields: bitsField(0x08, guestFieldSelectBits, 'what of the guest the key depends on'),
    vmpl: u32(0x10, 'privilege level of the key'),
    guestSvn: u32(0x14, 'security version of the key', { default: 0 }),
    tcbVersion: bytesField(0x18, 8, 'TCB version of the key', { default: new Uint8Array(8) }),
    policy: u64(0x20, 'guest policy', { default: 0n }),
    imageId: bytesField(0x28, 16, 'image id', { default: new Uint8Array(16) }),
    familyId: bytesField(0x38, 16, 'family id', { default: new Uint8Array(16) }),
    measurement: bytesField(0x48, 48, 'launch digest', { default: new Uint8Array(48) }),
    hostData: bytesField(0x78, 32, 'host data; always counts'),
    idKeyDigest: bytesField(0x98, 48, 'digest of the ID key, zero without one; always counts'),
    launchMitigationVector: u64(0xc8, 'mitigations of the key', { default: 0n }),
  },
);

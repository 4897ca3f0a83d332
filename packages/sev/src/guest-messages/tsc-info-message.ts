import { reserved, u32, u64 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';

const source =
  'SEV-SNP firmware ABI, MSG_TSC_INFO_REQ and MSG_TSC_INFO_RSP; linux arch/x86/include/asm/sev.h';

/** Payload of MSG_TSC_INFO_REQ: 128 zero bytes. */
export const tscInfoRequest = structure(
  { name: 'MSG_TSC_INFO_REQ', size: 128, source },
  { reserved00: reserved(0x00, 128) },
);

/** Payload of MSG_TSC_INFO_RSP, 128 bytes: how the guest's time stamp counter is made from the host's. */
export const tscInfoResponse = structure(
  { name: 'MSG_TSC_INFO_RSP', size: 128, source },
  {
    status: u32(0x00, '0 success, 0x16 invalid parameter'),
    reserved04: reserved(0x04, 4, 'report'),
    scale: u64(0x08, 'GUEST_TSC_SCALE: factor, fixed point with 32 bits behind the point'),
    offset: u64(0x10, 'GUEST_TSC_OFFSET: what is added'),
    factor: u32(0x18, 'TSC_FACTOR: the mean frequency is the nominal one × (1 − this/100000)'),
    reserved1c: reserved(0x1c, 100, 'report'),
  },
);

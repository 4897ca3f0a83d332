import { bitRange, bits, flag } from '../codec/bits.js';

/**
 * What guest and host say to each other through the GHCB MSR, before the guest has a page that both can read. The low 12
 * bits say what the rest means (AMD 56421, GHCB specification 2.0, 2.3.1).
 */

const source = 'AMD 56421 (GHCB specification 2.0), 2.3.1; linux arch/x86/include/asm/sev-common.h';

/** GHCBInfo: requests of the guest, and how the host marks its answers. */
export const ghcbMsrCodes = {
  SEV_INFORMATION: 0x001,
  SEV_INFORMATION_REQUEST: 0x002,
  REGISTER_REQUEST: 0x012,
  REGISTER_RESPONSE: 0x013,
  PAGE_STATE_REQUEST: 0x014,
  PAGE_STATE_RESPONSE: 0x015,
  FEATURES_REQUEST: 0x080,
  FEATURES_RESPONSE: 0x081,
  TERMINATE: 0x100,
} as const;

const code = bitRange(0, 12, 'GHCBInfo', 'what the rest means');
const word = (name: string, reserved: 'refuse' | 'report' = 'refuse') =>
  ({ name: `GHCB MSR, ${name}`, width: 64, source, reserved }) as const;

/** Requests that say nothing besides their code. */
export const ghcbMsrRequest = bits(word('request'), { code });

export const ghcbMsrSevInformation = bits(word('SEV information', 'report'), {
  code,
  cBitPosition: bitRange(24, 8, 'C-bit', 'bit of a guest physical address that asks for encryption'),
  leastVersion: bitRange(32, 16, 'GHCBInfo minimum', 'oldest version of the protocol that the host speaks'),
  mostVersion: bitRange(48, 16, 'GHCBInfo maximum', 'newest version of the protocol that the host speaks'),
});

/** REGISTER_REQUEST and REGISTER_RESPONSE. A host that does not accept the page answers with {@link ghcbRefusedFrame}. */
export const ghcbMsrRegistration = bits(word('GHCB registration'), {
  code,
  frame: bitRange(12, 52, 'GFN', 'guest physical address of the GHCB, divided by 4096'),
});

export const ghcbRefusedFrame = 2 ** 52 - 1;

export const ghcbMsrPageStateRequest = bits(word('page state request'), {
  code,
  frame: bitRange(12, 40, 'GFN', 'guest physical address of the page, divided by 4096'),
  operation: bitRange(52, 4, 'OPERATION', '1 private, 2 shared'),
});

export const ghcbMsrPageStateResponse = bits(word('page state response'), {
  code,
  error: bitRange(32, 32, 'ERROR', '0 for none'),
});

export const ghcbMsrFeatures = bits(word('hypervisor features', 'report'), {
  code,
  snp: flag(12, 'SEV-SNP', 'page state changes and guest requests'),
  apCreation: flag(13, 'AP_CREATION', 'further vCPUs are made from VMSAs of the guest'),
});

/** The last word of a guest that gives up. */
export const ghcbMsrTermination = bits(word('termination'), {
  code,
  reasonSet: bitRange(12, 4, 'REASON_SET', '0 general, 1 SEV-SNP by Linux'),
  reason: bitRange(16, 8, 'REASON', 'in set 0: 0 general, 1 unsupported protocol, 2 SEV-SNP not supported'),
});

/** The code of a word in the GHCB MSR. An address of a page has code 0. */
export function ghcbMsrCode(value: bigint): number {
  return Number(BigInt.asUintN(12, value));
}

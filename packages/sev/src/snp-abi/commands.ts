/**
 * Ids of the SEV-SNP commands that a host puts into the mailbox of the AMD Secure Processor (AMD 56860, command
 * identifiers; linux include/linux/psp-sev.h). Ids below 0x80 are those of SEV and SEV-ES.
 */
export const snpCommands = {
  SNP_INIT: 0x81,
  SNP_SHUTDOWN: 0x82,
  SNP_PLATFORM_STATUS: 0x83,
  SNP_DF_FLUSH: 0x84,
  SNP_INIT_EX: 0x85,
  SNP_SHUTDOWN_EX: 0x86,
  SNP_DECOMMISSION: 0x90,
  SNP_ACTIVATE: 0x91,
  SNP_GUEST_STATUS: 0x92,
  SNP_GCTX_CREATE: 0x93,
  SNP_GUEST_REQUEST: 0x94,
  SNP_ACTIVATE_EX: 0x95,
  SNP_LAUNCH_START: 0xa0,
  SNP_LAUNCH_UPDATE: 0xa1,
  SNP_LAUNCH_FINISH: 0xa2,
  SNP_DBG_DECRYPT: 0xb0,
  SNP_DBG_ENCRYPT: 0xb1,
  SNP_VERIFY_MITIGATION: 0xb2,
  SNP_PAGE_SWAP_OUT: 0xc0,
  SNP_PAGE_SWAP_IN: 0xc1,
  SNP_PAGE_MOVE: 0xc2,
  SNP_PAGE_MD_INIT: 0xc3,
  SNP_PAGE_SET_STATE: 0xc6,
  SNP_PAGE_RECLAIM: 0xc7,
  SNP_PAGE_UNSMASH: 0xc8,
  SNP_CONFIG: 0xc9,
  SNP_DOWNLOAD_FIRMWARE_EX: 0xca,
  SNP_COMMIT: 0xcb,
  SNP_VLEK_LOAD: 0xcd,
  SNP_FEATURE_INFO: 0xce,
  TIO_STATUS: 0xd0,
  TIO_INIT: 0xd1,
  TIO_DEV_CREATE: 0xd2,
  TIO_DEV_RECLAIM: 0xd3,
  TIO_DEV_CONNECT: 0xd4,
  TIO_DEV_DISCONNECT: 0xd5,
} as const;

export type SnpCommandName = keyof typeof snpCommands;

const namesById = new Map(
  Object.entries(snpCommands).map(([name, id]) => [id as number, name as SnpCommandName]),
);

/** Name of a command id; undefined for ids that SEV-SNP does not have. */
export function snpCommandName(id: number): SnpCommandName | undefined {
  return namesById.get(id);
}

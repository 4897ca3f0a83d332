/**
 * Ids of the commands that a host puts into the mailbox of the AMD Secure Processor (SEV API 0.24, chapter 4 and
 * following; linux include/linux/psp-sev.h). Ids from 0x80 belong to SEV-SNP.
 */
export const sevCommands = {
  INIT: 0x01,
  SHUTDOWN: 0x02,
  PLATFORM_RESET: 0x03,
  PLATFORM_STATUS: 0x04,
  PEK_GEN: 0x05,
  PEK_CSR: 0x06,
  PEK_CERT_IMPORT: 0x07,
  PDH_CERT_EXPORT: 0x08,
  PDH_GEN: 0x09,
  DF_FLUSH: 0x0a,
  DOWNLOAD_FIRMWARE: 0x0b,
  GET_ID: 0x0c,
  INIT_EX: 0x0d,
  NOP: 0x0e,
  RING_BUFFER: 0x0f,
  DECOMMISSION: 0x20,
  ACTIVATE: 0x21,
  DEACTIVATE: 0x22,
  GUEST_STATUS: 0x23,
  COPY: 0x24,
  ACTIVATE_EX: 0x25,
  LAUNCH_START: 0x30,
  LAUNCH_UPDATE_DATA: 0x31,
  LAUNCH_UPDATE_VMSA: 0x32,
  LAUNCH_MEASURE: 0x33,
  LAUNCH_SECRET: 0x34,
  LAUNCH_FINISH: 0x35,
  ATTESTATION: 0x36,
  SEND_START: 0x40,
  SEND_UPDATE_DATA: 0x41,
  SEND_UPDATE_VMSA: 0x42,
  SEND_FINISH: 0x43,
  SEND_CANCEL: 0x44,
  RECEIVE_START: 0x50,
  RECEIVE_UPDATE_DATA: 0x51,
  RECEIVE_UPDATE_VMSA: 0x52,
  RECEIVE_FINISH: 0x53,
  DBG_DECRYPT: 0x60,
  DBG_ENCRYPT: 0x61,
  SWAP_OUT: 0x70,
  SWAP_IN: 0x71,
} as const;

export type SevCommandName = keyof typeof sevCommands;

const namesById = new Map(
  Object.entries(sevCommands).map(([name, id]) => [id as number, name as SevCommandName]),
);

/** Name of a command id; undefined for ids that this API does not have. */
export function sevCommandName(id: number): SevCommandName | undefined {
  return namesById.get(id);
}

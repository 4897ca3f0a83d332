import { named, structure, u32, u64 } from '@vouchsafe/sev';

/**
 * What `/dev/sev` and a program say to each other: linux include/uapi/linux/psp-sev.h. All structures are packed.
 * Where the kernel has the firmware's own structures, `@vouchsafe/sev` declares them: PLATFORM_STATUS (12 bytes),
 * SNP_PLATFORM_STATUS (32 bytes), SNP_SET_CONFIG (64 bytes), and SNP_VLEK_LOAD (16 bytes) but for its address, which is
 * one of the process.
 */

const source = 'linux include/uapi/linux/psp-sev.h';

/** Numbers of the commands that SEV_ISSUE_CMD carries; they are the kernel's own, not the mailbox's. */
export const sevDeviceCommands = {
  FACTORY_RESET: 0,
  PLATFORM_STATUS: 1,
  PEK_GEN: 2,
  PEK_CSR: 3,
  PDH_GEN: 4,
  PDH_CERT_EXPORT: 5,
  PEK_CERT_IMPORT: 6,
  GET_ID2: 8,
  SNP_PLATFORM_STATUS: 9,
  SNP_COMMIT: 10,
  SNP_SET_CONFIG: 11,
  SNP_VLEK_LOAD: 12,
} as const;

export type SevDeviceCommand = keyof typeof sevDeviceCommands;

/** `struct sev_issue_cmd`, the argument of the one ioctl. */
export const sevIssueCommand = structure(
  { name: 'sev_issue_cmd', size: 16, source },
  {
    command: named(0, 4, sevDeviceCommands, 'command to run'),
    data: u64(4, "address of the command's structure in this process; 0 where it has none", { default: 0n }),
    error: u32(12, "the firmware's status; 0xFFFFFFFF when the firmware was not called", { default: 0 }),
  },
);

/** `_IOWR('S', 0, struct sev_issue_cmd)`: direction, size of the argument, type and number. */
export const SEV_ISSUE_CMD =
  (3n << 30n) | (BigInt(sevIssueCommand.size) << 16n) | (BigInt('S'.charCodeAt(0)) << 8n);

/** In `error`: the kernel did not get as far as calling the firmware. */
export const firmwareNotCalled = 0xffff_ffff;

/** `struct sev_user_data_pek_csr`. */
export const pekCsrData = structure(
  { name: 'sev_user_data_pek_csr', size: 12, source },
  {
    address: u64(0, 'where the PEK certificate goes'),
    length: u32(8, 'room there, then its length', { unit: 'bytes' }),
  },
);

/** `struct sev_user_data_pdh_cert_export`. Unlike the firmware's buffer it has no reserved word. */
export const pdhCertExportData = structure(
  { name: 'sev_user_data_pdh_cert_export', size: 24, source },
  {
    pdhAddress: u64(0, 'where the PDH certificate goes'),
    pdhLength: u32(8, 'room there, then its length', { unit: 'bytes' }),
    chainAddress: u64(12, 'where PEK, OCA and CEK go'),
    chainLength: u32(20, 'room there, then their length', { unit: 'bytes' }),
  },
);

/** `struct sev_user_data_pek_cert_import`. */
export const pekCertImportData = structure(
  { name: 'sev_user_data_pek_cert_import', size: 24, source },
  {
    pekAddress: u64(0, 'PEK certificate, signed by the owner'),
    pekLength: u32(8, 'its length', { unit: 'bytes' }),
    ocaAddress: u64(12, 'certificate of the owner'),
    ocaLength: u32(20, 'its length', { unit: 'bytes' }),
  },
);

/** `struct sev_user_data_get_id2`. */
export const getId2Data = structure(
  { name: 'sev_user_data_get_id2', size: 12, source },
  {
    address: u64(0, 'where the ids go'),
    length: u32(8, 'room there, then what was needed', { unit: 'bytes' }),
  },
);

/** Status codes that the firmware leaves in bits 15:0 of CmdResp (SEV API 0.24, chapter 4; from 0x19 on: SEV-SNP's). */
export const statusCodes = {
  SUCCESS: 0x00,
  INVALID_PLATFORM_STATE: 0x01,
  INVALID_GUEST_STATE: 0x02,
  INVALID_CONFIG: 0x03,
  INVALID_LENGTH: 0x04,
  ALREADY_OWNED: 0x05,
  INVALID_CERTIFICATE: 0x06,
  POLICY_FAILURE: 0x07,
  INACTIVE: 0x08,
  INVALID_ADDRESS: 0x09,
  BAD_SIGNATURE: 0x0a,
  BAD_MEASUREMENT: 0x0b,
  ASID_OWNED: 0x0c,
  INVALID_ASID: 0x0d,
  WBINVD_REQUIRED: 0x0e,
  DF_FLUSH_REQUIRED: 0x0f,
  INVALID_GUEST: 0x10,
  INVALID_COMMAND: 0x11,
  ACTIVE: 0x12,
  HWERROR_PLATFORM: 0x13,
  HWERROR_UNSAFE: 0x14,
  UNSUPPORTED: 0x15,
  INVALID_PARAM: 0x16,
  RESOURCE_LIMIT: 0x17,
  SECURE_DATA_INVALID: 0x18,
  INVALID_PAGE_SIZE: 0x19,
  INVALID_PAGE_STATE: 0x1a,
  INVALID_MDATA_ENTRY: 0x1b,
  INVALID_PAGE_OWNER: 0x1c,
  AEAD_OFLOW: 0x1d,
  EXIT_RING_BUFFER: 0x1f,
  RMP_INIT_REQUIRED: 0x20,
  BAD_SVN: 0x21,
  BAD_VERSION: 0x22,
  SHUTDOWN_REQUIRED: 0x23,
  UPDATE_FAILED: 0x24,
  RESTORE_REQUIRED: 0x25,
  RMP_INITIALIZATION_FAILED: 0x26,
  INVALID_KEY: 0x27,
} as const;

export type StatusName = keyof typeof statusCodes;

const namesByCode = new Map(
  Object.entries(statusCodes).map(([name, code]) => [code as number, name as StatusName]),
);

/** Name of a status code; undefined for codes that are not known (0x1E, and those above 0x27). */
export function statusName(code: number): StatusName | undefined {
  return namesByCode.get(code);
}

/** For people: `POLICY_FAILURE (0x7): the guest's policy forbids it`, and what to do where there is something to do. */
export function describeStatus(code: number): { readonly text: string; readonly advice?: string } {
  const name = statusName(code);
  const shown = `0x${code.toString(16)}`;
  if (name === undefined) return { text: `status ${shown}, which this version does not know` };
  const [meaning, advice] = statusMeanings[name];
  return { text: `${name} (${shown}): ${meaning}`, ...(advice === undefined ? {} : { advice }) };
}

/** What each status says, and what the caller can do about it. */
export const statusMeanings: Readonly<Record<StatusName, readonly [meaning: string, advice?: string]>> = {
  SUCCESS: ['the command was carried out'],
  INVALID_PLATFORM_STATE: [
    'the command is not allowed in the present state of the platform',
    'look at PLATFORM_STATUS: INIT comes first, and a reset or new PEK wants the guests gone',
  ],
  INVALID_GUEST_STATE: [
    'the command is not allowed in the present state of the guest',
    'look at GUEST_STATUS: pages come before LAUNCH_MEASURE, secrets between it and LAUNCH_FINISH',
  ],
  INVALID_CONFIG: ['a configuration flag is set that this firmware does not have'],
  INVALID_LENGTH: [
    'a buffer is too short, or has a length that the command forbids',
    'take the length that the command wrote back',
  ],
  ALREADY_OWNED: [
    'the platform already has an outside owner',
    'PLATFORM_RESET or PEK_GEN makes it self-owned again',
  ],
  INVALID_CERTIFICATE: [
    'a certificate is malformed, has a key that is not usable, or was signed by one who may not sign it',
    'check the chain with `vouchsafe chain verify`',
  ],
  POLICY_FAILURE: [
    "the guest's policy forbids it, or asks for newer firmware",
    'explain the policy with `vouchsafe policy explain`',
  ],
  INACTIVE: ['the guest has no address space id', 'ACTIVATE it first'],
  INVALID_ADDRESS: ['an address lies outside memory, in the trusted memory region, or is not aligned'],
  BAD_SIGNATURE: ['a signature does not verify'],
  BAD_MEASUREMENT: [
    'an authentication code does not match: the session, the policy or the packet was not made for this launch, or was changed on its way',
    'make a new launch session for the PDH that the platform has now',
  ],
  ASID_OWNED: ['another guest has this address space id', 'choose one that is free'],
  INVALID_ASID: [
    'the address space id is outside the range for this kind of guest',
    'SEV-ES guests take ids below the minimum of CPUID 0x8000001F EDX, others from it on',
  ],
  WBINVD_REQUIRED: [
    'caches still hold data of a guest that was deactivated',
    'run WBINVD on all cores, then DF_FLUSH',
  ],
  DF_FLUSH_REQUIRED: [
    'the address space id was used by another guest and not flushed since',
    'run WBINVD on all cores, then DF_FLUSH',
  ],
  INVALID_GUEST: ['no guest has this handle'],
  INVALID_COMMAND: ['the firmware does not know this command id'],
  ACTIVE: ['the guest has an address space id', 'DEACTIVATE it first'],
  HWERROR_PLATFORM: ['the hardware failed; guests are safe', 'retry, or reboot the machine'],
  HWERROR_UNSAFE: [
    'the hardware failed and guests may not be safe',
    'stop the guests and reboot the machine',
  ],
  UNSUPPORTED: ['the firmware cannot do this, or INIT did not switch it on'],
  INVALID_PARAM: ['a parameter is not acceptable, or reserved bytes are not zero'],
  RESOURCE_LIMIT: ['the firmware has no room for more guests', 'DECOMMISSION one'],
  SECURE_DATA_INVALID: [
    'the persistent store was damaged and has been erased',
    'initialise again: the platform gets new OCA, PEK and PDH keys and is self-owned',
  ],
  INVALID_PAGE_SIZE: ['the page size does not fit the reverse map table'],
  INVALID_PAGE_STATE: ['the page is in a state of the reverse map table that forbids the command'],
  INVALID_MDATA_ENTRY: ['the metadata entry is not valid'],
  INVALID_PAGE_OWNER: ['the page belongs to another guest'],
  AEAD_OFLOW: ['the sequence number of the message would overflow'],
  EXIT_RING_BUFFER: ['the firmware left ring buffer mode'],
  RMP_INIT_REQUIRED: ['the reverse map table is not initialised', 'run SNP_INIT first'],
  BAD_SVN: ['the security version of the image is below what is committed'],
  BAD_VERSION: ['the version of the image is below what is committed'],
  SHUTDOWN_REQUIRED: ['the platform must be shut down before this command', 'run SHUTDOWN first'],
  UPDATE_FAILED: ['the firmware update failed; the firmware before it still runs'],
  RESTORE_REQUIRED: ['the firmware update failed and the image before it must be restored'],
  RMP_INITIALIZATION_FAILED: ['the reverse map table could not be initialised'],
  INVALID_KEY: ['the selected key is not usable'],
};

import { bits, flag } from '../codec/bits.js';
import { bitsField, bytesField, reserved, u8, u32, u64 } from '../codec/fields.js';
import { structure } from '../codec/structure.js';

/**
 * The command buffers: what a host puts into memory before it rings the mailbox, packed and little-endian. Addresses
 * are system physical. Commands without a buffer (SHUTDOWN, PLATFORM_RESET, PEK_GEN, PDH_GEN, DF_FLUSH, NOP) are absent.
 */

const source = 'SEV API 0.24; linux include/linux/psp-sev.h';
const handle = () => u32(0, 'handle of the guest');
const none = { default: 0n } as const;
const empty = { default: 0, unit: 'bytes' } as const;

const initFlags = bits(
  { name: 'INIT.flags', width: 32, source, reserved: 'report' },
  { encryptedState: flag(0, 'ES', 'switch SEV-ES on') },
);

export const initBuffer = structure(
  { name: 'INIT', size: 20, source },
  {
    flags: bitsField(0, initFlags, 'what to switch on; any other bit is INVALID_CONFIG'),
    reserved: reserved(4, 4),
    tmrAddress: u64(8, 'trusted memory region, aligned to its size; used with SEV-ES', none),
    tmrLength: u32(16, 'length of the trusted memory region: 1 MiB with SEV-ES', empty),
  },
);

export const initExBuffer = structure(
  { name: 'INIT_EX', size: 36, source },
  {
    length: u32(0, 'length of this buffer, 0x24', { default: 0x24, unit: 'bytes' }),
    flags: bitsField(4, initFlags, 'what to switch on; any other bit is INVALID_CONFIG'),
    tmrAddress: u64(8, 'trusted memory region, aligned to its size; used with SEV-ES', none),
    tmrLength: u32(16, 'length of the trusted memory region: 1 MiB with SEV-ES', empty),
    reserved: reserved(20, 4),
    storeAddress: u64(24, 'persistent store in memory, 4 KiB aligned; 0 for the flash of the board', none),
    storeLength: u32(32, 'length of the persistent store: 0x8000', empty),
  },
);

/** Length of the persistent store that INIT_EX is given. Erased, it is all 0xFF. */
export const persistentStoreSize = 0x8000;
/** Length, and with SEV-ES the alignment, of the trusted memory region. */
export const trustedMemorySize = 0x10_0000;

export const pekCsrBuffer = structure(
  { name: 'PEK_CSR', size: 12, source },
  {
    address: u64(0, 'where the unsigned PEK certificate goes', none),
    length: u32(8, 'room there; the needed length where it was too short', empty),
  },
);

export const pekCertImportBuffer = structure(
  { name: 'PEK_CERT_IMPORT', size: 28, source },
  {
    pekAddress: u64(0, 'PEK certificate signed by the owner'),
    pekLength: u32(8, 'its length, 0x824', { unit: 'bytes' }),
    reserved: reserved(12, 4),
    ocaAddress: u64(16, 'certificate of the owner'),
    ocaLength: u32(24, 'its length, 0x824', { unit: 'bytes' }),
  },
);

export const pdhCertExportBuffer = structure(
  { name: 'PDH_CERT_EXPORT', size: 28, source },
  {
    pdhAddress: u64(0, 'where the PDH certificate goes', none),
    pdhLength: u32(8, 'room there; the needed length where either was too short', empty),
    reserved: reserved(12, 4),
    chainAddress: u64(16, 'where PEK, OCA and CEK go', none),
    chainLength: u32(24, 'room there; the needed length where either was too short', empty),
  },
);

export const getIdBuffer = structure(
  { name: 'GET_ID', size: 12, source },
  {
    address: u64(0, 'where the chip id goes', none),
    length: u32(8, 'room there; the needed length where it was too short', empty),
  },
);

export const downloadFirmwareBuffer = structure(
  { name: 'DOWNLOAD_FIRMWARE', size: 12, source },
  {
    address: u64(0, 'firmware image, 32-byte aligned'),
    length: u32(8, 'its length', { unit: 'bytes' }),
  },
);

const guestOnly = (name: string) => structure({ name, size: 4, source }, { handle: handle() });

export const decommissionBuffer = guestOnly('DECOMMISSION');
export const deactivateBuffer = guestOnly('DEACTIVATE');
export const launchFinishBuffer = guestOnly('LAUNCH_FINISH');
export const sendFinishBuffer = guestOnly('SEND_FINISH');
export const sendCancelBuffer = guestOnly('SEND_CANCEL');
export const receiveFinishBuffer = guestOnly('RECEIVE_FINISH');

export const activateBuffer = structure(
  { name: 'ACTIVATE', size: 8, source },
  { handle: handle(), asid: u32(4, 'address space id that the guest gets') },
);

export const activateExBuffer = structure(
  { name: 'ACTIVATE_EX', size: 24, source },
  {
    length: u32(0, 'length of this buffer, 0x18', { default: 0x18, unit: 'bytes' }),
    handle: u32(4, 'handle of the guest'),
    asid: u32(8, 'address space id that the guest gets'),
    idCount: u32(12, 'number of APIC ids in the list', { default: 0, unit: 'ids' }),
    idListAddress: u64(16, 'list of u32 APIC ids whose core complexes may run the guest', none),
  },
);

export const guestStatusBuffer = structure(
  { name: 'GUEST_STATUS', size: 13, source },
  {
    handle: handle(),
    policy: u32(4, 'out: policy word of the guest', { default: 0 }),
    asid: u32(8, 'out: address space id, 0 for none', { default: 0 }),
    state: u8(12, 'out: state of the guest', { default: 0 }),
  },
);

export const copyBuffer = structure(
  { name: 'COPY', size: 24, source },
  {
    handle: handle(),
    length: u32(4, 'how much to copy, a multiple of 4 KiB', { unit: 'bytes' }),
    sourceAddress: u64(8, 'from here, 4 KiB aligned'),
    destinationAddress: u64(16, 'to here, 4 KiB aligned'),
  },
);

const startWithSession = (name: string) =>
  structure(
    { name, size: 36, source },
    {
      handle: u32(
        0,
        'in: 0 for a key of its own, or the guest whose key to share; out: handle of the new guest',
        { default: 0 },
      ),
      policy: u32(4, 'policy word of the guest'),
      certificateAddress: u64(
        8,
        "Diffie-Hellman certificate of the guest's owner or source platform; 0 for no channel",
        none,
      ),
      certificateLength: u32(16, 'its length, 0x824', empty),
      reserved: reserved(20, 4),
      sessionAddress: u64(24, 'session buffer', none),
      sessionLength: u32(32, 'its length, 0x80', empty),
    },
  );

export const launchStartBuffer = startWithSession('LAUNCH_START');
export const receiveStartBuffer = startWithSession('RECEIVE_START');

const launchUpdate = (name: string) =>
  structure(
    { name, size: 20, source },
    {
      handle: handle(),
      reserved: reserved(4, 4),
      address: u64(8, 'memory to measure and encrypt in place, 16-byte aligned'),
      length: u32(16, 'its length, a multiple of 16', { unit: 'bytes' }),
    },
  );

export const launchUpdateDataBuffer = launchUpdate('LAUNCH_UPDATE_DATA');
export const launchUpdateVmsaBuffer = launchUpdate('LAUNCH_UPDATE_VMSA');

export const launchMeasureBuffer = structure(
  { name: 'LAUNCH_MEASURE', size: 20, source },
  {
    handle: handle(),
    reserved: reserved(4, 4),
    address: u64(8, 'where measurement and nonce go', none),
    length: u32(16, 'room there; the needed length where it was too short', empty),
  },
);

/** LAUNCH_SECRET and the four migration commands that move pages: a packet's header and payload, and guest memory. */
const packetTransfer = (name: string) =>
  structure(
    { name, size: 52, source },
    {
      handle: handle(),
      reserved: reserved(4, 4),
      headerAddress: u64(8, 'header of the packet', none),
      headerLength: u32(16, 'its length, 0x34', empty),
      reserved2: reserved(20, 4),
      guestAddress: u64(24, 'memory of the guest, 16-byte aligned'),
      guestLength: u32(32, 'its length, a multiple of 16', { unit: 'bytes' }),
      reserved3: reserved(36, 4),
      transportAddress: u64(40, 'payload of the packet', none),
      transportLength: u32(48, 'its length', empty),
    },
  );

export const launchSecretBuffer = packetTransfer('LAUNCH_SECRET');
export const sendUpdateDataBuffer = packetTransfer('SEND_UPDATE_DATA');
export const sendUpdateVmsaBuffer = packetTransfer('SEND_UPDATE_VMSA');
export const receiveUpdateDataBuffer = packetTransfer('RECEIVE_UPDATE_DATA');
export const receiveUpdateVmsaBuffer = packetTransfer('RECEIVE_UPDATE_VMSA');

export const attestationBuffer = structure(
  { name: 'ATTESTATION', size: 36, source },
  {
    handle: handle(),
    reserved: reserved(4, 4),
    address: u64(8, 'where the report goes', none),
    mnonce: bytesField(16, 16, "the caller's nonce"),
    length: u32(32, 'room there; the needed length where it was too short', empty),
  },
);

export const sendStartBuffer = structure(
  { name: 'SEND_START', size: 68, source },
  {
    handle: handle(),
    policy: u32(4, 'out: policy word of the guest', { default: 0 }),
    pdhAddress: u64(8, 'PDH certificate of the destination'),
    pdhLength: u32(16, 'its length, 0x824', { unit: 'bytes' }),
    reserved: reserved(20, 4),
    platformCertificatesAddress: u64(24, 'PEK, OCA and AMD-signed CEK of the destination', none),
    platformCertificatesLength: u32(32, 'their length, 0x186C', empty),
    reserved2: reserved(36, 4),
    amdCertificatesAddress: u64(40, 'ASK and ARK', none),
    amdCertificatesLength: u32(48, 'their length', empty),
    reserved3: reserved(52, 4),
    sessionAddress: u64(56, 'where the session buffer goes', none),
    sessionLength: u32(64, 'room there; the needed length where it was too short', empty),
  },
);

const debug = (name: string) =>
  structure(
    { name, size: 28, source },
    {
      handle: handle(),
      reserved: reserved(4, 4),
      sourceAddress: u64(8, 'from here, 16-byte aligned'),
      destinationAddress: u64(16, 'to here, 16-byte aligned'),
      length: u32(24, 'how much, a multiple of 16', { unit: 'bytes' }),
    },
  );

export const debugDecryptBuffer = debug('DBG_DECRYPT');
export const debugEncryptBuffer = debug('DBG_ENCRYPT');

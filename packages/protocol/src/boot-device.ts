import { bitRange, bits, flag, named, structure, u32, u64 } from '@vouchsafe/sev';

/**
 * The one device of the software machine: what fw_cfg and a serial port are under QEMU. The guest puts a request into
 * a page that it shares with its host and writes the page's guest physical address, 32 bits wide, to the device's port:
 * OUT without SEV-ES, VMGEXIT with SW_EXITCODE IOIO and that OUT in the GHCB with it. When the guest is entered again,
 * the host has done what was asked and has filled in `status` and `result`. Whatever comes from here comes from the
 * host: a guest believes kernel, initrd and command line only after comparing them with its measured hash table.
 */

/** The port that QEMU's fw_cfg takes DMA addresses on. */
export const bootDevicePort = 0x514;

/** Largest `length` of one request: a mebibyte. */
export const bootRequestLimit = 0x10_0000;

export const bootOperations = {
  /** `result` := bytes of the item. An item that the machine has not is NO_SUCH_ITEM. */
  SIZE: 1,
  /** Copies [offset, offset + length) of the item to the shared memory at `address`; `result` := bytes copied. */
  READ: 2,
  /** Prints `length` bytes of UTF-8 at `address`, shared memory, as one line on the console. */
  PRINT: 3,
  /** The guest has booted, and says so. `result` and the other fields carry nothing. */
  DONE: 4,
} as const;
export type BootOperation = keyof typeof bootOperations;

export const bootItems = {
  NONE: 0,
  KERNEL: 1,
  INITRD: 2,
  /** The text without the NUL byte that the hash table's digest covers. */
  COMMAND_LINE: 3,
  /** SIZE only: bytes of memory from guest address 0; the firmware's image lies apart, below 4 GiB. */
  MEMORY: 4,
} as const;
export type BootItem = keyof typeof bootItems;

export const bootStatuses = {
  PENDING: 0,
  OK: 1,
  NO_SUCH_ITEM: 2,
  /** Offset and length reach beyond the item, or length beyond {@link bootRequestLimit}. */
  OUT_OF_RANGE: 3,
  /** The address is not the guest's memory, or the request means nothing. */
  BAD_REQUEST: 4,
} as const;
export type BootStatus = keyof typeof bootStatuses;

/** The request, 32 bytes in shared memory, 8-byte aligned, not across a page. */
export const bootRequest = structure(
  { name: 'Boot device request', size: 32, source: 'Vouchsafe, packages/protocol/src/boot-device.ts' },
  {
    operation: named(0, 4, bootOperations, 'what the guest asks for'),
    item: named(4, 4, bootItems, 'of which item', { default: 'NONE' }),
    offset: u32(8, 'first byte wanted of the item', { unit: 'bytes', default: 0 }),
    length: u32(12, 'how many bytes', { unit: 'bytes', default: 0 }),
    address: u64(16, 'guest physical address in shared memory to copy to, or to print from', { default: 0n }),
    status: named(24, 4, bootStatuses, 'answer of the device', { default: 'PENDING' }),
    result: u32(28, 'answer of the device: a number of bytes', { default: 0 }),
  },
);

/** SW_EXITINFO1 of a VMGEXIT whose SW_EXITCODE is IOIO (APM volume 2, section 15.10.2, IOIO intercept information). */
export const ioioExitInformation = bits(
  {
    name: 'IOIO SW_EXITINFO1',
    width: 64,
    source: 'APM volume 2, 15.10.2; GHCB specification 2.0, 4.1.2',
    reserved: 'report',
  },
  {
    input: flag(0, 'TYPE', 'IN; zero for OUT'),
    string: flag(2, 'STR', 'INS or OUTS'),
    repeated: flag(3, 'REP', 'with a REP prefix'),
    size8: flag(4, 'SZ8', 'one byte'),
    size16: flag(5, 'SZ16', 'two bytes'),
    size32: flag(6, 'SZ32', 'four bytes'),
    addressSize16: flag(7, 'A16', '16-bit addresses'),
    addressSize32: flag(8, 'A32', '32-bit addresses'),
    addressSize64: flag(9, 'A64', '64-bit addresses'),
    segment: bitRange(10, 3, 'SEG', 'effective segment of a string instruction'),
    port: bitRange(16, 16, 'PORT', 'port number'),
  },
);

/** SW_EXITINFO1 of a four-byte OUT to the boot device; RAX of the GHCB holds the request's address. */
export const bootDeviceExitInformation: bigint = ioioExitInformation.build({
  size32: true,
  port: bootDevicePort,
});
